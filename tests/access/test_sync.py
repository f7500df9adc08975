"""Copies of series and ticks: what is equal is skipped, what grew is appended to, what was cut goes on; and read over SSH without a copy."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tape_access import DataAccessor, NotFound, StoreUnavailable
from tape_access.sync import Sync, find
from tape_archive.format import ticks as ticks_format
from tape_archive.stores import LocalStore
from tests.support.recording import environment
from tests.support.sshd import Sshd, sshd
from tests.support.wire import wire

HEADER = "ts_sample_utc,t_sample_unix,sample_id,venue,symbol,best_bid,err\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


def csv(path: Path, first: int, rows: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [HEADER] + [f"2026-01-10T00:00:00Z,{first + n}.000000,{n + 1},binance_spot,BTCUSDT,{50_000 + n},\n" for n in range(rows)]
    path.write_text("".join(lines))
    return path


def older(path: Path, seconds: float = 100.0) -> None:
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def run(store: LocalStore, here: Path, **options: bool) -> dict[str, tuple[str, int]]:
    sync = Sync(store, here, **options)  # type: ignore[arg-type]
    done = {one.path: (one.how, one.fetched) for one in map(sync.bring, find(store, "logs"))}
    sync.save()
    return done


def test_new_same_grown_anew(tmp_path: Path) -> None:
    store, here = LocalStore(tmp_path / "vps"), tmp_path / "mac"
    one, two = (
        csv(tmp_path / "vps/logs/cex_20260110_00.csv", 1_768_003_200, 5000),
        csv(tmp_path / "vps/logs/cex_20260110_12.csv", 1_768_046_400, 10),
    )
    older(one)
    older(two)
    size = one.stat().st_size
    assert run(store, here) == {"logs/cex_20260110_00.csv": ("new", size), "logs/cex_20260110_12.csv": ("new", two.stat().st_size)}
    assert {how for how, _ in run(store, here).values()} == {"same"}
    with two.open("a") as file:
        file.write("a whole row\nhalf a r")
    assert run(store, here)["logs/cex_20260110_12.csv"][0] == "grown"
    assert (here / "logs/cex_20260110_12.csv").read_text() == two.read_text()[: -len("half a r")]
    with two.open("a") as file:
        file.write("ow\n")
    assert run(store, here)["logs/cex_20260110_12.csv"][0] == "grown"
    assert (here / "logs/cex_20260110_12.csv").read_bytes() == two.read_bytes()
    # Another file of the same size, and one that is another from its middle on.
    one.write_bytes(one.read_bytes().replace(b"BTC", b"ETH"))
    assert run(store, here)["logs/cex_20260110_00.csv"] == ("anew", pytest.approx(size, abs=4 * 65536))
    assert (here / "logs/cex_20260110_00.csv").read_bytes() == one.read_bytes()
    two.write_bytes(two.read_bytes().replace(b"binance", b"bybit_s") + b"more\n")
    assert run(store, here)["logs/cex_20260110_12.csv"][0] == "anew"
    assert not list(here.rglob("*.part"))


def test_files_that_another_tool_brought_are_not_fetched_again(tmp_path: Path) -> None:
    store, here = LocalStore(tmp_path / "vps"), tmp_path / "mac"
    one = csv(tmp_path / "vps/logs/cex_20260110_00.csv", 1_768_003_200, 20_000)
    copy = here / "logs" / one.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(one.read_bytes())
    how, fetched = run(store, here)["logs/cex_20260110_00.csv"]
    assert how == "same" and fetched <= 3 * 65536
    # A difference between the samples is found by --checksum.
    (here / ".sync.json").unlink()
    raw = bytearray(one.read_bytes())
    raw[200_000] ^= 1
    copy.write_bytes(raw)
    assert run(store, here)["logs/cex_20260110_00.csv"][0] == "same"
    (here / ".sync.json").unlink()
    assert run(store, here, checksum=True)["logs/cex_20260110_00.csv"][0] == "anew" and copy.read_bytes() == one.read_bytes()


def test_a_transfer_that_was_cut_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "vps" / "logs"
    root.mkdir(parents=True)
    (root / "big.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    older(root / "big.bin")

    class Cutting(LocalStore):
        cut = True

        def chunks(self, path: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
            for number, chunk in enumerate(super().chunks(path, offset, size)):
                if self.cut and number == 2:
                    raise StoreUnavailable("cut")
                yield chunk

    store, here = Cutting(tmp_path / "vps"), tmp_path / "mac"
    with pytest.raises(StoreUnavailable):
        run(store, here)
    assert not (here / "logs" / "big.bin").exists()
    store.cut = False
    how, fetched = run(store, here)["logs/big.bin"]
    assert how == "resumed" and fetched < 1_100_000 and (here / "logs/big.bin").read_bytes() == (root / "big.bin").read_bytes()
    # A part of another file is not gone on with.
    (root / "big.bin").write_bytes(random.Random(2).randbytes(3_000_001))
    store.cut = True
    with pytest.raises(StoreUnavailable):
        run(store, here)
    (root / "big.bin").write_bytes(random.Random(3).randbytes(3_000_001))
    older(root / "big.bin", 50)
    store.cut = False
    assert run(store, here)["logs/big.bin"][0] == "anew" and (here / "logs/big.bin").read_bytes() == (root / "big.bin").read_bytes()


@pytest.mark.parametrize("far", [False, True])
def test_names_that_no_recorder_gives_are_left_out(tmp_path: Path, server: Sshd, far: bool, caplog: pytest.LogCaptureFixture) -> None:
    """No text, words for a terminal, links that lead out, and the names of our own files here."""
    root = tmp_path / "vps"
    csv(root / "logs/cex_20260110_00.csv", 1_768_003_200, 50)
    csv(root / "logs/-rf %2e%2e $(reboot).csv", 1_768_003_200, 5)
    odd = [b"\xff\xfe.csv", b"a\nb.csv", b"\x1b]0;owned\x07\x1b[31m.csv", b"up\\..\\x.csv", "\u202egnp.csv".encode()]
    for name in [*odd, b".sync.json", b".cex_20260110_12.csv.part"]:
        Path(os.fsdecode(os.path.join(os.fsencode(root / "logs"), name))).write_text("x\n")  # noqa: PTH118
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.csv").write_text("secret\n")
    (root / "logs" / "link.csv").symlink_to(tmp_path / "secret" / "key.csv")
    (root / "logs" / "dir").symlink_to(tmp_path / "secret")
    store = server.store(root) if far else LocalStore(root)
    done = run(store, tmp_path / "mac")  # type: ignore[arg-type]
    assert set(done) == {"logs/cex_20260110_00.csv", "logs/-rf %2e%2e $(reboot).csv"}
    assert {path.name for path in tmp_path.joinpath("mac/logs").iterdir()} == {"cex_20260110_00.csv", "-rf %2e%2e $(reboot).csv"}
    assert caplog.text.count("is left out") == len(odd) and caplog.text.isascii() and "\x1b" not in caplog.text
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("vps", "mac", "secret")] == []
    store.close()


def test_the_command(tmp_path: Path, server: Sshd) -> None:
    csv(tmp_path / "vps/logs/cex_20260110_00.csv", 1_768_003_200, 3000)
    config = tmp_path / "home" / ".ssh" / "config"
    config.parent.mkdir(parents=True)
    extra = {"TAPE_REMOTE": f"sftp://{server.user}@127.0.0.1:{server.port}{tmp_path}/vps", "VPS_PEM_KEY": str(server.key)}
    known = Path.home() / ".ssh" / "known_hosts"
    before = known.read_bytes() if known.exists() else None
    known.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        with known.open("a") as file:
            file.write(f"[127.0.0.1]:{server.port} {(server.folder / 'host.pub').read_text()}")

        def sync(*options: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "tape_archive", "sync", "--to", str(tmp_path / "mac"), *options]
            return subprocess.run(command, env=environment() | extra, capture_output=True, text=True, check=False)

        told = sync("--dry-run")
        assert told.returncode == 0 and "1 files would be brought" in told.stdout and not (tmp_path / "mac" / "logs").exists(), told.stderr
        done = json.loads(sync("--json").stdout)
        assert [(one["path"], one["how"]) for one in done] == [("logs/cex_20260110_00.csv", "new")]
        again = sync()
        assert again.returncode == 0 and "0 files brought (0 B travelled), 1 are the same" in again.stdout
        gone = sync("--folder", "nothing")
        assert gone.returncode == 1 and "give the --root of the recorders" in gone.stderr and gone.stderr.count("\n") == 1
        extra["TAPE_REMOTE"] = ""
        wrong = sync()
        assert wrong.returncode == 2 and "say where from" in wrong.stderr
    finally:
        known.write_bytes(before) if before is not None else known.unlink()


# -- read over SSH ---------------------------------------------------------------------------------------------------------------


def test_a_series_is_read_from_there(tmp_path: Path, server: Sshd) -> None:
    csv(tmp_path / "vps/logs/cex_20260110_00.csv", 1_768_003_200, 2000)
    live = csv(tmp_path / "vps/logs/cex_20260110_12.csv", 1_768_046_400, 100)
    csv(tmp_path / "vps/logs/cex_20260111_00.csv", 1_768_089_600, 2000)
    (tmp_path / "mac").mkdir()
    store = server.store(tmp_path / "vps")
    with DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=store) as data:
        rows = data.cex("2026-01-10T12:00:00Z", "2026-01-10T12:00:09Z")
        assert len(rows) == 10 and list(rows["sample_id"]) == list(range(1, 11))
        assert [path.name for path in (tmp_path / "cache/files/logs").glob("*.csv")] == ["cex_20260110_12.csv"]
        with live.open("a") as file:
            file.write("2026-01-10T00:00:00Z,1768046600.000000,101,binance_spot,BTCUSDT,1,\n")
        assert list(data.cex(1_768_046_600, 1_768_046_600)["best_bid"]) == [1.0]
        with pytest.raises(NotFound):
            data.cex("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z")
    with wire(server.port) as between:
        between.refuse = True
        away = DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=server.store(tmp_path / "vps", between.port))
        with pytest.raises(StoreUnavailable):
            away.cex()


def test_ticks_are_read_from_there(tmp_path: Path, server: Sshd) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    hour = 3_600_000_000_000
    noon = 1_768_046_400_000_000_000
    for n in range(3):
        first = noon + n * hour
        times = pa.array([first, first + 5], pa.timestamp("ns", "UTC"))
        table = pa.table(
            {
                "ts_event": times,
                "ts_recv": times,
                "U": [1, 2],
                "u": [1, 2],
                "snapshot": [True, False],
                "side": pa.array(["bid", "ask"]).dictionary_encode(),
                "price": [1.0 + n, 2.0],
                "amount": [3.0, 4.0],
            }
        )
        path = ticks_format.part_path(tmp_path / "vps", "gate_spot", "VIRTUAL_USDT", first, first + 5)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    (tmp_path / "mac").mkdir()
    with DataAccessor(tmp_path / "mac", tmp_path / "cache", remote=server.store(tmp_path / "vps")) as data:
        rows = data.ticks("gate_io", "VIRTUAL-USDT", noon + hour, noon + hour + 10)
        assert list(rows["price"]) == [2.0, 2.0] and len(list((tmp_path / "cache/files").rglob("*.parquet"))) == 1
        assert len(data.ticks("gate_io", "VIRTUAL-USDT")) == 6
        with pytest.raises(NotFound, match="no ticks of 'mexc'"):
            data.ticks("mexc", "VIRTUAL-USDT")
