"""Imported captures and recorded windows, read back by the commands and by a strategy."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tape_access import DataAccessor
from tape_archive.format.errors import FormatError, NotFound, SettingsError
from tape_archive.format.layout import segments
from tape_archive.format.lines import frame_line, mark_line, parse, reply_line
from tape_archive.format.read import read_lines
from tape_archive.format.segment import Appender
from tape_collectors.importing.tapes import import_file
from tests.support.captures import captures
from tests.support.recording import environment


def tape(*words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "tape_archive", *words], capture_output=True, text=True, env=environment(), check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout or done.stderr


CAPTURES = {"binance_spot": ("spot/btcusdt_20240808.gz", "BTCUSDT"), "binance_usdm": ("usdm/ethusdt_20240808.gz", "ETHUSDT")}


def frames(path: Path) -> list[tuple[int, bytes]]:
    with gzip.open(path) as file:
        return [(int(ns), payload) for ns, _, payload in (line.rstrip(b"\n").partition(b" ") for line in file)]


def oracle(path: Path, until: int, futures: bool, depth: int) -> dict[str, list[list[float]]]:
    """The book after every frame received by ``until``, by plain JSON and none of our code."""
    sides: dict[str, dict[float, float]] = {"b": {}, "a": {}}
    last, kept = None, []
    for ns, payload in frames(path):
        if ns > until:
            break
        body = json.loads(payload)
        if "lastUpdateId" in body:
            last = body["lastUpdateId"]
            for side, name in (("b", "bids"), ("a", "asks")):
                sides[side] = {float(p): float(q) for p, q in body[name]}
            events = [event for event in kept if event["u"] >= last + (0 if futures else 1)]
        elif "@depth" in body["stream"]:
            kept.append(body["data"])
            events = [body["data"]] if last is not None else []
        else:
            continue
        for event in events:
            for side in ("b", "a"):
                for p, q in event[side]:
                    sides[side][float(p)] = float(q)
    live = {side: {p: q for p, q in levels.items() if q} for side, levels in sides.items()}
    bids = sorted(live["b"].items(), reverse=True)[:depth]
    return {"bids": [list(one) for one in bids], "asks": [list(one) for one in sorted(live["a"].items())[:depth]]}


@pytest.mark.captures
@pytest.mark.parametrize("venue", CAPTURES)
def test_an_imported_capture_is_complete_and_its_book_is_the_oracles(tmp_path: Path, venue: str) -> None:
    name, symbol = CAPTURES[venue]
    path = captures() / "binance" / "hftbacktest-2024-08" / name
    code, said = tape("import", "--format", "hftbacktest", "--venue", venue, "--root", str(tmp_path), str(path))
    assert code == 0 and "frames" in said
    given = frames(path)
    lines = [parse(raw) for segment in segments(tmp_path) for raw in read_lines(segment.file, sealed=True)]
    assert [line.data for line in lines if line.data is not None] == [payload for _, payload in given]
    code, said = tape("coverage", "--root", str(tmp_path), "--json")
    rows = json.loads(said)
    assert code == 0 and len(rows) == 3 and all(row["complete"] and row["gaps"] == [] and row["symbol"] == symbol for row in rows)
    assert sum(row["frames"] for row in rows) == len(given) - 1
    assert set(rows[0]) == {"venue", "symbol", "channel", "frames", "first_ns", "last_ns", "complete", "gaps"}
    for at in (given[len(given) // 5][0], given[len(given) // 2][0], given[-1][0] + 10**9):
        words = ["--root", str(tmp_path), "--venue", venue, "--symbol", symbol.lower(), "--at", str(at), "--depth", "25", "--json"]
        view = json.loads(tape("book", *words)[1])
        expected = oracle(path, at, venue == "binance_usdm", 25)
        assert {side: [[float(p), float(q)] for p, q in view[side]] for side in ("bids", "asks")} == expected
        assert list(view)[:4] == ["venue", "symbol", "t", "proven"] and isinstance(view["bids"][0][0], str)
    assert tape("verify", "--root", str(tmp_path))[0] == 0
    code, said = tape("import", "--format", "hftbacktest", "--venue", venue, "--root", str(tmp_path), str(path))
    assert code == 2 and "imported here already" in said


@pytest.mark.captures
def test_a_hole_in_a_capture_is_told_with_its_ids(tmp_path: Path) -> None:
    source = captures() / "binance" / "hftbacktest-2024-08" / "usdm" / "ethusdt_20240808.gz"
    given = frames(source)
    depth = [number for number, (_, payload) in enumerate(given) if b"@depth" in payload[:40]]
    gone = depth[3000:3003]
    with gzip.open(tmp_path / "cut.gz", "wb") as file:
        file.writelines(b"%d %b\n" % frame for number, frame in enumerate(given) if number not in gone)
    import_file(tmp_path / "cut.gz", "hftbacktest", "binance_usdm", tmp_path / "data")
    code, said = tape("coverage", "--root", str(tmp_path / "data"), "--json")
    (gap,) = next(row["gaps"] for row in json.loads(said) if row["channel"].startswith("depth"))
    before, after = (json.loads(given[depth[number]][1])["data"] for number in (2999, 3003))
    assert code == 3 and (gap["from_id"], gap["to_id"], gap["why"]) == (before["u"] + 1, after["pu"], "sequence")
    assert (gap["from_ns"], gap["to_ns"]) == (given[depth[2999]][0], given[depth[3003]][0])
    view = json.loads(tape("book", "--root", str(tmp_path / "data"), "--venue", "binance_perp", "--symbol", "ETH-USDT-PERP", "--json")[1])
    assert view["proven"] is False and view["bids"] == []


@pytest.mark.captures
@pytest.mark.parametrize("name", ["spot-2021-10-11", "usdm-2021-07-22"])
def test_both_layouts_of_cryptofeed_give_the_same_frames(tmp_path: Path, name: str) -> None:
    venue = "binance_usdm" if name.startswith("usdm") else "binance_spot"
    folder = captures() / "binance" / "cryptofeed" / name
    import_file(folder / "frames.ndjson.zst", "cryptofeed", venue, tmp_path / "one")
    (raw,) = folder.glob("original/*.ws.1.0.zst")
    import_file(raw, "cryptofeed", venue, tmp_path / "two")

    def payloads(root: Path) -> list[bytes]:
        lines = (parse(raw) for segment in segments(root) for raw in read_lines(segment.file))
        return [line.data for line in lines if line.data is not None and line.request is None]

    assert payloads(tmp_path / "one") == payloads(tmp_path / "two") != []


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        ("hftbacktest", b"hello\n", "not '<receive ns> <payload>'"),
        ("cryptofeed", b"hello\n", "neither frames.ndjson nor a raw file"),
        ("jsonl", b"{torn", "line 1"),
        ("jsonl", b'{"raw":"x"}\n', "no receive time"),
        ("hftbacktest", gzip.compress(b"1723161253937085768 {}\n" * 50, mtime=0)[:40], "torn or damaged"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_leaves_nothing(tmp_path: Path, kind: str, content: bytes, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=text):
        import_file(path, kind, "binance_spot", tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.zst"))
    with pytest.raises(SettingsError, match="unknown venue"):
        import_file(path, kind, "binanec", tmp_path / "data")


def test_the_records_of_the_old_recorder_become_windows(tmp_path: Path) -> None:
    slug = "btc-updown-15m-1767507300"
    record: dict[str, Any] = {"timestamp": 1767507300123, "market_key": "btc_15m", "market_slug": slug, "question": "?"}
    record["tokens"] = [
        {"outcome": name, "token_id": token, "orderbook": {"bids": [[0.01, 5.0], [bid, 7.5]], "asks": [[0.99, 1.0], [bid + 0.02, 2.0]]}}
        for name, token, bid in (("Up", "11", 0.48), ("Down", "22", 0.5))
    ]
    path = tmp_path / "old.jsonl"
    path.write_bytes(b"".join(json.dumps({**record, "timestamp": record["timestamp"] + 1000 * n}).encode() + b"\n" for n in range(3)))
    import_file(path, "jsonl", "polymarket", tmp_path)
    data = DataAccessor(tmp_path)
    assert data.list_all_windows() == [1767507300]
    window = data.read_window(1767507300)
    best = window.books[(window.books["outcome"] == "Up") & (window.books["side"] == "bid") & (window.books["rank"] == 0)]
    assert list(best["price"]) == [0.48] * 3 and window.strike is None and window.result is None
    view = json.loads(tape("book", "--root", str(tmp_path), "--venue", "polymarket", "--symbol", f"{slug}/Down", "--json")[1])
    assert (view["symbol"], view["bids"][0], view["proven"]) == ("22", ["0.5", "7.5"], True)


# -- DataAccessor --------------------------------------------------------------------------------------------------------------------------

SLUG = "btc-updown-15m-1767507300"


def recorded(root: Path, name: str = f"real_hot/{SLUG}.jsonl") -> Path:
    """A small window of two sockets: book, changes, a doubled trade, prices, strikes, results."""
    path = root / name
    t = 1767507300 * 10**9
    window = {"slug": SLUG, "tokens": ["11", "22"], "outcomes": ["Up", "Down"]}
    book = b'[{"market":"0xab","asset_id":"11","timestamp":"1767507300000","hash":"h","bids":[{"price":"0.1","size":"5"},{"price":"0.4","size":"6"}],"asks":[{"price":"0.9","size":"1"},{"price":"0.6","size":"2"}],"event_type":"book"}]'
    trade = b'{"market":"0xab","asset_id":"11","price":"0.6","size":"1","side":"BUY","timestamp":"1767507301000","event_type":"last_trade_price","transaction_hash":"0x1"}'
    price = b'{"payload":{"full_accuracy_value":"90000500000000000000000","symbol":"btc/usd","timestamp":1767507301000,"value":90000.5,"window_s":60},"timestamp":1767507302000,"topic":"crypto_prices_twap_sixty","type":"update"}'
    lines = [
        mark_line(t, "tape", "tape", {"format": 1, "run": "r", "window": window}),
        mark_line(t + 1, "clob-1", "open", {"group": "clob"}),
        frame_line(t + 2, "clob-1", book),
        frame_line(t + 3, "clob-1", trade),
        frame_line(t + 4, "clob-1", trade),
        mark_line(t + 5, "rtds-1", "open", {"group": "rtds"}),
        frame_line(t + 6, "rtds-1", price),
        reply_line(t + 7, "GET /events/slug/x", b'{"slug":"x"}'),
        mark_line(t + 8, "tape", "strike", {"price": "90000.5", "source": "rtds TWAP60 at the start", "ts": t}),
        mark_line(t + 9, "tape", "strike", {"price": "90000.25", "source": "gamma priceToBeat", "ts": t}),
        mark_line(t + 10, "tape", "result", {"outcome": "Down", "source": "market_resolved", "ts": t}),
        mark_line(t + 11, "tape", "result", {"outcome": "Up", "source": "gamma", "ts": t}),
    ]
    appender = Appender(path)
    appender.append(b"".join(lines), len(lines))
    appender.close()
    return path


@pytest.mark.parametrize("name", [f"real_hot/{SLUG}.jsonl", f"real_archive/2026-01/{SLUG}.jsonl.zst"])
def test_a_window_hot_or_cold(tmp_path: Path, name: str) -> None:
    path = recorded(tmp_path, name)
    data = DataAccessor(tmp_path)
    found = data.get_window_jsonl(1767507300)
    assert found == data.get_window_jsonl(SLUG) == data.get_window_jsonl("2026-01-04T06:15:00Z")
    assert found.suffix == ".jsonl" and (found == path or path.suffix == ".zst")
    window = data.read_window(SLUG)
    assert (window.strike, window.result, window.frames) == (90000.25, "Up", 4)
    assert len(window.trades) == 1 and len(data.read_window(SLUG, duplicates=True).trades) >= 1
    trade = window.trades.iloc[0]
    assert (trade["outcome"], trade["price"], trade["side"]) == ("Up", 0.6, "buy") and trade["ts_event"].value == 1767507301 * 10**9
    books = window.books
    assert list(books[books["side"] == "bid"]["price"]) == [0.4, 0.1] and list(books[books["side"] == "ask"]["price"]) == [0.6, 0.9]
    assert list(window.prices["price"]) == [90000.5] and str(window.prices["ts_recv"].dtype) == "datetime64[ns, UTC]"


def test_what_is_not_there_is_not_found_and_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is no folder"):
        DataAccessor(tmp_path / "nowhere")
    data = DataAccessor(tmp_path)
    with pytest.raises(NotFound, match="no window is recorded"):
        data.get_window_jsonl(1767507300)
    recorded(tmp_path)
    (tmp_path / "real_hot" / "notes.jsonl").write_text("")
    assert data.list_all_windows() == [1767507300] and data.list_all_windows("eth") == []
    for coin, timeframe in (("bitcoin", "15m"), ("BTC", "15m"), ("btc", "15")):
        with pytest.raises(SettingsError, match="unknown"):
            data.list_all_windows(coin, timeframe)
    with pytest.raises(NotFound, match=f"nearest recorded one starts at 1767507300 \\({SLUG}\\)"):
        data.read_window(1767507300 + 900)
    with pytest.raises(SettingsError, match="unknown coin"):
        data.read_window(1767507300, coin="dog")
    with pytest.raises(NotFound, match=r"no series cex\.csv"):
        data.cex()


def test_the_series_opens_only_the_files_that_can_hold_the_time(tmp_path: Path) -> None:
    from tape_access.series import files
    from tape_collectors.sinks.csv import COLUMNS

    (tmp_path / "logs").mkdir()
    for name, t in (("cex_20260110_00", 1768003200), ("cex_20260110_12", 1768046400), ("cex_20260111_00", 1768089600)):
        cells = dict.fromkeys(COLUMNS, "") | {
            "t_sample_unix": f"{t + 60}.000000",
            "sample_id": "1",
            "venue": "binance_spot",
            "symbol": "BTCUSDT",
        }
        cells |= {"best_bid": "1.5", "err": "" if "11" in name else "BookNotProven: x"}
        (tmp_path / "logs" / f"{name}.csv").write_text(",".join(COLUMNS) + "\n" + ",".join(cells.values()) + "\n")
    base = tmp_path / "logs" / "cex.csv"
    assert [path.stem for path in files(base, 1768046500, 1768046600)] == ["cex_20260110_12"]
    assert len(files(base, None, None)) == 3 and len(files(base, 1768050000, None)) == 2
    frame = DataAccessor(tmp_path).cex(1768046400, 1768046500)
    assert len(frame) == 1 and frame["best_bid"].dtype == "float64" and frame["mid"].isna().all()
    assert list(DataAccessor(tmp_path).cex(columns=["venue", "best_bid"]).columns) == ["venue", "best_bid"]


def test_a_strategy_pays_only_for_what_it_uses() -> None:
    code = "import sys, tape_access, data_accessor; print([m for m in ('pandas', 'pyarrow', 'picows', 'aiohttp', 'websockets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == "[]"
