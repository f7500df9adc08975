"""The whole market from a venue's frame to a row: what is on the tapes is in the tables, each event once, whatever dies on the way.

What should be there is read from the tapes' frames as plain JSON, by none of our decoders.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tape_archive.format.lock import held
from tape_archive.tables.tables import Tables, open_tables
from tests.support.recording import arguments, environment, simulator, tape
from tests.support.stored import compare

TYPES = "trades,l2_book,funding,index,liquidations,book_ticker,candles_1m"
Facts = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]


class Child(subprocess.Popen[bytes]):
    """What it says goes to a file: nobody reads a pipe meanwhile, and a full one would stop it."""

    log: Path

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        self.wait(timeout)
        return b"", self.log.read_bytes()


@contextmanager
def recorder(root: Path, endpoints: dict[str, str], *options: str, **env: str) -> Iterator[Child]:
    command = [sys.executable, "-m", "tape_collectors.cli.market_record", "--root", str(root), "--metrics-port", "-1", *options]
    mine = [one for one in arguments(endpoints) if one == "--endpoint" or one.startswith("binance_usdm")]
    pairs = [word for at, word in enumerate(arguments(endpoints)) if word.startswith("binance_usdm") for word in ("--endpoint", word)]
    assert mine
    log = root.with_suffix(".log")
    with log.open("wb") as said:
        child = Child([*command, *pairs], env=environment(**env), stderr=said)
    child.log = log
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.communicate(timeout=90)


def recorded(root: Path) -> Facts:
    """What the frames on the tapes say, each event once."""
    facts: Facts = {"trades": {}, "l2_book": {}, "book_ticker": {}, "index": {}, "candles_1m": {}}
    for line in tape(root, "binance_usdm"):
        if line.data is None or line.request is not None:
            continue
        message = json.loads(line.data)
        one = message.get("data") or {}
        kind = message.get("stream", "").partition("@")[2]
        name = f"{one.get('s', '')[:-4]}-USDT-PERP"
        if kind == "aggTrade":
            facts["trades"][name, one["a"]] = (
                float(one["p"]),
                float(one["q"]),
                "sell" if one["m"] else "buy",
                one["T"],
                one["f"],
                one["l"],
            )
        elif kind == "depth@100ms":
            facts["l2_book"][name, one["u"]] = (one["U"], one["pu"], [float(p) for p, _ in one["b"]], [float(q) for _, q in one["a"]])
        elif kind == "bookTicker":
            facts["book_ticker"][name, one["u"]] = (float(one["b"]), float(one["B"]), float(one["a"]), float(one["A"]))
        elif kind == "markPrice@1s":
            facts["index"][name, one["E"]] = (float(one["i"]), float(one["p"]), float(one["P"]))
        elif kind == "kline_1m" and one["k"]["x"]:
            facts["candles_1m"][name, one["k"]["t"]] = tuple(float(one["k"][key]) for key in "ohlcv")
    return facts


def stored(tables: Tables) -> Facts:
    def ms(at: Any) -> int:
        return round(at.timestamp() * 1000)

    def rows(table: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = tables.read(table).to_pylist()
        return found

    return {
        "trades": {
            (r["symbol"], r["trade_id"]): (r["price"], r["amount"], r["side"], ms(r["timestamp"]), r["first_id"], r["last_id"])
            for r in rows("trades")
        },
        "l2_book": {
            (r["symbol"], r["last_update_id"]): (r["first_update_id"], r["previous_update_id"], r["bid_prices"], r["ask_amounts"])
            for r in rows("l2_book")
            if not r["snapshot"]
        },
        "book_ticker": {(r["symbol"], r["update_id"]): (r["bid"], r["bid_amount"], r["ask"], r["ask_amount"]) for r in rows("book_ticker")},
        "index": {(r["symbol"], ms(r["timestamp"])): (r["index_price"], r["mark_price"], r["settle_price"]) for r in rows("index")},
        "candles_1m": {
            (r["symbol"], ms(r["timestamp"])): (r["open"], r["high"], r["low"], r["close"], r["volume"]) for r in rows("candles_1m")
        },
    }


def same(root: Path, url: str) -> Facts:
    tables = open_tables(url)
    try:
        there, here = stored(tables), recorded(root)
        counts = {table: tables.count(table) for table in here}
    finally:
        tables.close()
    for table, facts in here.items():
        assert there[table] == facts, table
        assert table == "l2_book" or counts[table] == len(facts), "none twice"
    return here


def wait(root: Path, child: subprocess.Popen[bytes], frames: int, seconds: float = 180.0) -> None:
    """Until this process has recorded so many frames."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        status = root / "state" / "market.status.json"
        told = json.loads(status.read_text()) if status.exists() else {}
        if told.get("pid") == child.pid and told["frames"] >= frames:
            return
        assert child.poll() is None, f"the recorder ended: {child.communicate()[1].decode()}"
        time.sleep(0.1)
    child.kill()
    raise AssertionError(f"not {frames} frames: {child.communicate()[1].decode()}")


def test_what_is_on_the_tapes_is_in_the_tables(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with simulator(tmp_path, "--venues", "binance_usdm") as endpoints:
        with recorder(root, endpoints, "--types", TYPES, "--custom", "3m", "--streams", "5") as child:
            wait(root, child, 3000)
            child.send_signal(signal.SIGTERM)
            said = child.communicate(timeout=90)[1].decode()
        assert child.returncode == 0 and "the tables do not have everything" not in said, said
    facts = same(root, f"parquet://{root}")
    assert all(facts[table] for table in ("trades", "l2_book", "book_ticker", "index"))
    # Once more, and into another store: nothing new here, everything there.
    again = [sys.executable, "-m", "tape_archive", "fill", "--root", str(root), "--types", TYPES, "--json"]
    ran = subprocess.run(again, env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["rows"] == 0
    other = f"parquet://{tmp_path / 'other'}"
    ran = subprocess.run([*again, "--store", other], env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["rows"] > 0
    same(root, other)


def ask(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=30) as answer:
        return json.loads(answer.read())


def until(true: Callable[[], object], child: subprocess.Popen[bytes], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert child.poll() is None, f"the recorder ended: {child.communicate()[1].decode()}"
        assert time.monotonic() < end
        time.sleep(0.2)


def test_every_type_as_it_was_sent_while_symbols_come_and_go(tmp_path: Path) -> None:
    """The venue's own count of what it sent, by stream and symbol, and a hash of what it said."""
    root = tmp_path / "data"
    options = ("--perpetuals", "24", "--rate", "800", "--speed", "60")
    with simulator(tmp_path, "--venues", "binance_usdm", *options) as endpoints:
        rest = endpoints["binance_usdm.rest"]
        with recorder(root, endpoints, "--streams", "40", "--discovery-seconds", "1", "--custom", "3m", TAPE_POLL_S="2") as child:
            symbols = 22
            until(lambda: ask(f"{rest}/control/status")["streams"] >= 11 * symbols, child)
            ask(f"{rest}/control/ledger/reset", b"")
            until(lambda: ask(f"{rest}/control/status")["frames"] > 2000, child)
            ask(f"{rest}/control/list?count=6", b"")
            until(lambda: ask(f"{rest}/control/status")["streams"] >= 11 * (symbols + 6), child)
            ask(f"{rest}/control/delist?count=9", b"")
            until(lambda: ask(f"{rest}/control/status")["frames"] > 6000, child)
            until(lambda: "forceOrder" in str(ask(f"{rest}/control/ledger")), child)
            ask(f"{rest}/control/ledger/stop", b"")
            ledger = ask(f"{rest}/control/ledger")
            sent = ask(f"{rest}/control/status")["frames"]
            until(lambda: ask(f"{rest}/control/status")["frames"] > sent + 500, child)
            child.send_signal(signal.SIGTERM)
            said = child.communicate(timeout=120)[1].decode()
        assert child.returncode == 0 and "the tables do not have everything" not in said, said
    tables = open_tables(f"parquet://{root}")
    found = compare(tables, ledger["rows"] if isinstance(ledger, dict) else ledger)
    changes = {row["native"]: row["status"] for row in tables.read("instruments").to_pylist()}
    custom = tables.count("custom_candles")
    tables.close()
    assert not found.different, found.different
    assert set(found.rows) >= {"trades", "book_ticker", "l2_book", "index", "liquidations", "open_interest", "candles_1m", "candles_5m"}
    assert custom > 0 and sum(status == "SETTLING" for status in changes.values()) == 9


@pytest.mark.parametrize(("sizes", "most"), [((40, 80, 30), 20), pytest.param((400, 800, 300), 200, marks=pytest.mark.long)])
def test_connections_are_as_many_as_the_arithmetic_says(tmp_path: Path, sizes: tuple[int, ...], most: int) -> None:
    """ceil(streams / most) for each root while symbols are listed and delisted, and no book that stays has a gap."""
    root = tmp_path / "data"

    def trading() -> int:
        rows = ask(f"{rest}/fapi/v1/exchangeInfo")["symbols"]
        return sum(row["status"] == "TRADING" and row["contractType"] == "PERPETUAL" and row["quoteAsset"] == "USDT" for row in rows)

    def status() -> dict[str, Any]:
        path = root / "state" / "market.status.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"connections": 0, "gaps": 0}
        return found

    with simulator(tmp_path, "--venues", "binance_usdm", "--perpetuals", str(sizes[0]), "--rate", "300") as endpoints:
        rest = endpoints["binance_usdm.rest"]
        options = ("--types", "trades,candles_1m,l2_book", "--streams", str(most), "--discovery-seconds", "1", "--store", "none")
        with recorder(root, endpoints, *options) as child:
            for size in sizes:
                more = size - trading()
                if more:
                    ask(f"{rest}/control/{'list' if more > 0 else 'delist'}?count={abs(more)}", b"")
                assert trading() == size
                # Of each symbol one stream on /public, two on /market.
                wanted = -(-size // most) + -(-2 * size // most)
                until(lambda size=size: ask(f"{rest}/control/status")["speaking"] >= 3 * size, child, 400.0)  # type: ignore[misc]
                until(lambda wanted=wanted: status()["connections"] == wanted, child, 400.0)  # type: ignore[misc]
            assert status()["gaps"] == 0
            child.send_signal(signal.SIGTERM)
            assert child.wait(90) == 0


def test_two_writers_and_a_third_too_many(tmp_path: Path) -> None:
    root = tmp_path / "data"
    with simulator(tmp_path, "--venues", "binance_usdm") as endpoints:
        with recorder(root, endpoints, "--types", TYPES, "--workers", "9") as child:
            said = child.communicate(timeout=60)[1].decode()
        assert child.returncode == 2 and said.count("\n") == 1 and "expected 1 to 3, one for each tape" in said
        with recorder(root, endpoints, "--types", TYPES, "--workers", "2") as child:
            wait(root, child, 1500)
            until(lambda: len([*(root / "state").glob("tables-1-of-1-*.status.json")]) == 2, child)
            writers = [path.name for path in (root / "state").glob("tables-1-of-1-*.status.json")]
            child.send_signal(signal.SIGTERM)
            said = child.communicate(timeout=90)[1].decode()
        assert child.returncode == 0 and "the tables do not have everything" not in said, said
    assert sorted(writers) == ["tables-1-of-1-market-poll.status.json", "tables-1-of-1-public.status.json"]
    facts = same(root, f"parquet://{root}")
    assert all(facts[table] for table in ("trades", "l2_book", "index"))
    # Another number of writers goes on where these were.
    again = [sys.executable, "-m", "tape_archive", "fill", "--root", str(root), "--types", TYPES, "--json"]
    assert json.loads(subprocess.run(again, env=environment(), capture_output=True, text=True, check=True).stdout)["rows"] == 0


def missed(url: str) -> tuple[int, int]:
    """Trades between the first and the last of each symbol that are not in the store; the newest of BTC-USDT-PERP."""
    tables = open_tables(url)
    try:
        ids: dict[str, list[int]] = {}
        for row in tables.read("trades", columns=("symbol", "trade_id")).to_pylist():
            ids.setdefault(row["symbol"], []).append(row["trade_id"])
    finally:
        tables.close()
    assert all(len(set(some)) == len(some) for some in ids.values())
    return sum(max(some) - min(some) + 1 - len(some) for some in ids.values()), max(ids["BTC-USDT-PERP"])


def test_what_a_pause_left_out_is_filled_by_the_recorder_itself(tmp_path: Path) -> None:
    root = tmp_path / "data"
    url = f"parquet://{root}"
    with simulator(tmp_path, "--venues", "binance_usdm", "--perpetuals", "8", "--rate", "300") as endpoints:
        rest = endpoints["binance_usdm.rest"]
        with recorder(root, endpoints, "--types", "trades") as child:
            wait(root, child, 60)
        # Nobody listens: these trades are nowhere but in the venue's past.
        newest = lambda: ask(f"{rest}/fapi/v1/aggTrades?symbol=BTCUSDT&limit=1")[-1]["a"]  # noqa: E731
        then, end = newest(), time.monotonic() + 120
        while newest() < then + 30 and time.monotonic() < end:
            time.sleep(0.5)
        with recorder(root, endpoints, "--types", "trades", "--log-level", "info", TAPE_BACKFILL_EVERY_S="4") as child:
            wait(root, child, 60)
            # Rows of after the pause are there, and none is missing before them.
            until(lambda: (found := missed(url))[0] == 0 and found[1] > then + 30, child)
            child.send_signal(signal.SIGTERM)
            said = child.communicate(timeout=90)[1].decode()
    assert (root / "raw" / "binance_usdm" / "backfill").is_dir(), said


def apart(root: Path, channel: str, first: str, last: str) -> dict[str, list[tuple[int, int]]]:
    """Of a channel with ids: what is missing between two lives of the recorder, (first, last) by symbol, by the tape's JSON alone."""
    found: dict[str, list[tuple[int, int]]] = {}
    newest: dict[str, int] = {}
    for line in tape(root, "binance_usdm"):
        if line.data is not None and line.request is None and f"@{channel}" in (frame := json.loads(line.data)).get("stream", ""):
            one, before = frame["data"], newest.get(frame["data"]["s"])
            if before is not None and one[first] - (first == "a") != before:
                found.setdefault(one["s"], []).append((before + 1, one[first] - (first == "a")))
            newest[one["s"]] = one[last]
    return found


def test_what_nobody_recorded_is_told_on_the_tape(tmp_path: Path) -> None:
    """Killed, cut, and stopped: for each stream a gap mark, with the very ids that are not on the tape where the venue counts."""
    root, lives = tmp_path / "data", 3
    options = ("--types", "trades,l2_book,index,liquidations,book_ticker", "--streams", "10", "--store", "none")
    with simulator(tmp_path, "--venues", "binance_usdm", "--perpetuals", "6", "--rate", "600") as endpoints:
        rest = endpoints["binance_usdm.rest"]
        for life in range(lives):
            with recorder(root, endpoints, *options) as child:
                wait(root, child, 2000)
                if life == 1:
                    ask(f"{rest}/control/cut?count=1", b"")
                wait(root, child, 4000)
                child.send_signal(signal.SIGKILL if life == 0 else signal.SIGTERM)
                child.wait(90)
            sent = ask(f"{rest}/control/status")["now_ms"]
            until_ms = sent + 1500
            while ask(f"{rest}/control/status")["now_ms"] < until_ms:
                time.sleep(0.1)
    gaps: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for line in tape(root, "binance_usdm"):
        if line.mark == "gap":
            assert line.fields["why"] == "not connected" and line.fields["from_ns"] < line.fields["until_ns"] <= line.t
            gaps.setdefault(str(line.fields["channel"]), {}).setdefault(str(line.fields["symbol"]), []).append(dict(line.fields))
    for channel, first, last in (("aggTrade", "a", "a"), ("depth@100ms", "pu", "u")):
        wanted = apart(root, channel, first, last)
        told = {symbol: [(one["from_id"], one["to_id"]) for one in some] for symbol, some in gaps[channel].items()}
        assert told == wanted and any(len(some) == lives - 1 for some in wanted.values())
    symbols, times = set(gaps["bookTicker"]), set()
    for channel in ("bookTicker", "markPrice@1s", "forceOrder"):
        assert set(gaps[channel]) == symbols and len(symbols) == 5
        for one in (one for some in gaps[channel].values() for one in some):
            assert one["from_id"] == one["to_id"] == 0
        times |= {len(some) for some in gaps[channel].values()}
    assert times == {lives - 1, lives}, "some were on the connection that was cut"


@pytest.mark.parametrize("lives", [3, pytest.param(20, marks=pytest.mark.long)])
def test_killed_at_random_no_row_is_lost_and_none_is_twice(tmp_path: Path, lives: int) -> None:
    """SIGKILL to the recorder, to the process that writes tables, or to both; connections are replaced meanwhile."""
    root, chance = tmp_path / "data", random.Random(11)
    cuts = [word for at in range(5, 60 * lives, 9) for word in ("--fault", f"disconnect@{at}s")]
    with simulator(tmp_path, "--venues", "binance_usdm", *cuts[:40]) as endpoints:
        for life in range(lives):
            with recorder(root, endpoints, "--types", TYPES, "--streams", "5", TAPE_DRAIN_S="3") as child:
                wait(root, child, 300)
                time.sleep(chance.uniform(0.5, 4.0))
                lock = root / "state" / "tables-binance_usdm-public.lock"
                if chance.random() < 0.6 and held(lock):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(lock.read_text()), signal.SIGKILL)
                    time.sleep(chance.uniform(0.0, 1.0))
                child.send_signal(signal.SIGKILL if life < lives - 1 else signal.SIGTERM)
        # The writer of a killed recorder ends by itself; what it had no time for is done now.
    done = [sys.executable, "-m", "tape_archive", "fill", "--root", str(root), "--types", TYPES]
    for _ in range(100):
        if subprocess.run(done, env=environment(), capture_output=True, check=False).returncode != 11:
            break
        time.sleep(0.5)
    same(root, f"parquet://{root}")
