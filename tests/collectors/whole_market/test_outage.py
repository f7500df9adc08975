"""A database that is down for an hour, in the time of the tape: no row is lost or there twice, the tape goes on, and little waits in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tape_archive.format import read
from tape_archive.format.errors import StoreUnavailable
from tape_archive.tables.tables import Tables, open_tables
from tape_collectors.market.rows import Row
from tape_collectors.sinks.tables import TableSink
from tape_collectors.whole_market import writer
from tape_collectors.whole_market.writer import TapeTables, open_tapes
from tests.support.postgres import Postgres
from tests.support.recording import tape
from tests.support.tapes import Writer

VENUE, STREAM = "binance_usdm", "market"
TYPES = ("trades", "index")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
#: seconds of the tape: until the server is killed, until it is back, until the recorder ends
DOWN, UP, OVER = 40, 40 + 3600, 40 + 3600 + 40
#: trades of a symbol in a second
EACH = 2
#: in the place of 100,000 rows and a mebibyte of the file: an hour here is that much less than an hour of 600 symbols
MOST, LOOK = 1_000, 1 << 14


class Hour:
    """The recorder and the clock: ``second`` writes what came in one second."""

    def __init__(self, root: Path) -> None:
        self.tape = Writer(root, VENUE, STREAM)
        self.tape.open(0.001, "market-1")
        for place, symbol in enumerate(SYMBOLS, 2):
            name = f"{symbol[:-4]}-USDT-PERP"
            self.tape.mark(place / 1000, "tape", "listing", symbol=symbol, what="first", name=name, status="TRADING", since=1, contract="1")
        self.now = 0
        self.ids = 0
        self.hour = 0

    def second(self, at: int) -> None:
        if at // 3600 != self.hour:
            self.hour = at // 3600
            self.tape.turn(at)
        for number in range(EACH):
            self.ids += 1
            for place, symbol in enumerate(SYMBOLS, 1):
                head = {"e": "aggTrade", "E": self.ms(at), "a": self.ids, "s": symbol, "p": f"{100 + self.ids % 7}.5", "q": "2"}
                more = {"f": 2 * self.ids, "l": 2 * self.ids + 1, "T": self.ms(at), "m": self.ids % 2 == 0, "st": 1}
                self.tape.frame(at + number / 10 + place / 100, f"{symbol.lower()}@aggTrade", head | more, "market-1")
        for place, symbol in enumerate(SYMBOLS, 1):
            index = {"e": "markPriceUpdate", "E": self.ms(at), "s": symbol, "p": "1.5", "i": f"{at}", "P": "1", "r": "0.0001", "T": 1}
            self.tape.frame(at + 0.5 + place / 100, f"{symbol.lower()}@markPrice@1s", index, "market-1")
        self.now = Writer.ns(at + 1)

    @staticmethod
    def ms(at: int) -> int:
        return Writer.ns(at) // 1_000_000


@pytest.fixture
def hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hour:
    made = Hour(tmp_path)
    monkeypatch.setattr(writer, "time", SimpleNamespace(time_ns=lambda: made.now, monotonic=time.monotonic, sleep=time.sleep))
    monkeypatch.setattr(writer, "MOST", MOST)
    monkeypatch.setattr(read, "POLL", LOOK)
    return made


@pytest.fixture
def server() -> Iterator[Postgres]:
    made = Postgres()
    made.start()
    yield made
    made.stop()


def opened(root: Path, store: Tables) -> TapeTables:
    return next(one for one in open_tapes(root, store, VENUE, TYPES, (), "1/1", ("market",)))


def steps(one: TapeTables) -> None:
    """All that there is."""
    while one.step():
        pass


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches that were tried: with what waits, all that is in memory."""
    sizes: list[int] = []
    insert = TableSink.insert

    def spy(sink: TableSink, table: str, rows: Sequence[Row], t: int) -> None:
        sizes.append(len(rows))
        insert(sink, table, rows, t)

    monkeypatch.setattr(TableSink, "insert", spy)
    return sizes


def test_a_database_that_is_down_for_an_hour(hour: Hour, server: Postgres, batches: list[int], tmp_path: Path) -> None:
    store = open_tables(server.url("hour"))
    tables = opened(tmp_path, store)
    for second in range(DOWN):
        hour.second(second)
        if second % 5 == 0:
            steps(tables)
    assert store.count("trades") > DOWN
    server.kill()
    failures, most = 0, 0
    for second in range(DOWN, UP):
        hour.second(second)
        if second == UP - 1800:
            # Its process is killed too, and the next one cannot even ask how far the store is.
            store.close()
            store = open_tables(server.url("hour"))
            with pytest.raises(StoreUnavailable):
                opened(tmp_path, store)
        if second % 20 == 0 and second < UP - 1800:
            try:
                steps(tables)
            except StoreUnavailable:
                failures += 1
            most = max(most, tables.waiting)
    lines = sum(1 for line in tape(tmp_path, VENUE, STREAM) if line.data is not None)
    assert lines == UP * len(SYMBOLS) * (EACH + 1), "the tape has everything that came meanwhile"
    assert failures > 80 and most < lines // 10, "of an hour only some minutes wait in memory, the rest on the tape"
    server.start()
    batches.clear()
    tables = opened(tmp_path, store)
    steps(tables)
    assert max(batches) < 4 * MOST < sum(batches) // 4, "an hour in parts"
    for second in range(UP, OVER):
        hour.second(second)
        if second % 5 == 0:
            steps(tables)
    hour.tape.seal(OVER)
    steps(tables)
    tables.save()
    wanted = {
        "trades": {(one, n, 100 + n % 7 + 0.5, 2 * n, 2 * n + 1) for one in SYMBOLS for n in range(1, OVER * EACH + 1)},
        "index": {(one, at, 1.5) for one in SYMBOLS for at in range(OVER)},
    }
    columns = {"trades": ("symbol", "trade_id", "price", "first_id", "last_id"), "index": ("symbol", "index_price", "mark_price")}
    other = open_tables(f"parquet://{tmp_path / 'other'}")
    (tmp_path / "state" / "tables-binance_usdm-market.cursor").unlink()
    anew = opened(tmp_path, other)
    steps(anew)
    anew.save()
    for table, rows in wanted.items():
        assert store.count(table) == len(rows)
        got = store.read(table, columns=columns[table]).to_pylist()
        assert {(f"{row['symbol'].partition('-')[0]}USDT", *list(row.values())[1:]) for row in got} == rows
        assert store.proof(table) == other.proof(table), "as if the store had never been away"
    store.close()
    other.close()
