"""What a strategy asks: windows by any name of their start, errors that say which kind of nothing it is."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tape_access import DataAccessor, NotFound, SettingsError, StoreDenied, StoreUnavailable
from tape_archive.format.lines import frame_line, mark_line
from tests.support.tapes import NOON, SECOND, Writer

START = NOON // SECOND


def window(root: Path, start: int, name: str = "real_hot/{slug}.jsonl", coin: str = "btc") -> Path:
    """A small window."""
    slug = f"{coin}-updown-15m-{start}"
    path = root / name.format(slug=slug)
    path.parent.mkdir(parents=True, exist_ok=True)
    trade = {
        "event_type": "last_trade_price",
        "asset_id": "1",
        "price": "0.5",
        "size": "3",
        "side": "BUY",
        "timestamp": str(start * 1000 + 123),
    }
    head = {"format": 1, "run": "r", "window": {"slug": slug, "tokens": ["1", "2"], "outcomes": ["Up", "Down"]}}
    t = start * SECOND
    untimed = {**trade, "timestamp": "", "price": "0.6"}
    lines = [
        mark_line(t, "tape", "tape", head),
        mark_line(t + 1, "clob-1", "open", {}),
        frame_line(t + 2, "clob-1", json.dumps(trade).encode()),
    ]
    lines += [frame_line(t + 3, "clob-2", json.dumps(trade).encode()), frame_line(t + 4, "clob-2", json.dumps(untimed).encode())]
    lines += [mark_line(t + 5, "tape", "strike", {"price": "101.5", "source": "rtds TWAP60", "ts": t})]
    lines += [mark_line(t + 6, "tape", "result", {"outcome": "Up", "source": "gamma", "ts": t, "final": True})]
    content = b"".join(lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_a_window_is_found_by_every_name_of_its_start(tmp_path: Path) -> None:
    hot = window(tmp_path, START)
    cold = window(tmp_path, START - 900, "real_archive/2026-01/{slug}.jsonl.gz")
    window(tmp_path, START, coin="eth")
    accessor = DataAccessor(tmp_path)
    assert accessor.list_all_windows() == [START - 900, START]
    assert [one.coin for one in accessor.windows(timeframe="15m")] == ["btc", "btc", "eth"]
    for name in (
        START,
        float(START),
        str(START),
        START * 1000,
        NOON,
        datetime.fromtimestamp(START, UTC),
        datetime(2026, 1, 10, 12),
        "2026-01-10T12:00:00Z",
        hot.stem,
    ):
        assert accessor.get_window_jsonl(name) == hot
    assert accessor.get_window_jsonl(START - 900).read_bytes() == gzip.decompress(cold.read_bytes())
    assert DataAccessor(hot_dir=tmp_path / "real_hot").get_window_jsonl(START) == hot
    with pytest.raises(NotFound, match=f"the nearest recorded one starts at {START}"):
        accessor.get_window_jsonl(START + 900)
    with pytest.raises(SettingsError, match="did you mean 'btc'"):
        accessor.get_window_jsonl(START, coin="bct")


@pytest.mark.parametrize("name", ["real_hot/{slug}.jsonl", "real_archive/2026-01/{slug}.jsonl.gz"])
def test_a_window_is_read_with_both_clocks_exact(tmp_path: Path, name: str) -> None:
    window(tmp_path, START, name)
    data = DataAccessor(tmp_path).read_window(START)
    trades = data.trades
    assert list(trades["price"]) == [0.5, 0.6]
    assert str(trades["ts_event"].dtype) == str(trades["ts_recv"].dtype) == "datetime64[ns, UTC]"
    assert trades["ts_recv"].astype("int64").tolist() == [NOON + 2, NOON + 4]
    assert trades["ts_event"][0].value == NOON + 123_000_000 and trades["ts_event"].isna().tolist() == [False, True]
    assert (data.strike, data.result) == (101.5, "Up")
    assert len(DataAccessor(tmp_path).read_window(START, duplicates=True).trades) == 3


def test_nothing_there_and_nothing_reachable_are_two_errors_and_no_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="is no folder"):
        DataAccessor(tmp_path / "none")
    accessor = DataAccessor(tmp_path)
    with pytest.raises(NotFound, match="set VPS_HOST and VPS_USER, or TAPE_REMOTE"):
        accessor.list_all_windows()
    for ask in (accessor.list_all_windows, accessor.cex, accessor.coverage, lambda: accessor.get_window_jsonl(START)):
        with pytest.raises(NotFound):
            ask()
    window(tmp_path, START)
    real = os.scandir

    def failing(number: int) -> object:
        def scandir(path: object) -> object:
            if str(path).endswith("real_hot"):
                raise OSError(number, os.strerror(number))
            return real(path)  # type: ignore[call-overload]

        return scandir

    for number, kind in ((107, StoreUnavailable), (5, StoreUnavailable), (13, StoreDenied)):
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", failing(number))
            with pytest.raises(kind):
                accessor.list_all_windows()


def test_coverage_by_venue_and_time(tmp_path: Path) -> None:
    tape = Writer(tmp_path)
    tape.open(1)
    tape.trade(2, 1)
    tape.trade(3, 5)
    tape.seal(4)
    (row,) = DataAccessor(tmp_path).coverage(venue="binance", start=START, end=START + 3)
    assert not row.complete
    with pytest.raises(NotFound):
        DataAccessor(tmp_path).coverage(venue="binance_usdm")


def test_importing_is_quick_and_takes_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, data_accessor, tape_access; print([m for m in ('pandas', 'pyarrow', 'numpy', 'aiohttp', 'asyncio') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert done.stdout.strip() == "[]"
