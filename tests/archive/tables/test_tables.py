"""One suite for every table store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tape_archive.format.errors import LocalError, OutOfStep, SettingsError
from tape_archive.tables import Cursor, Tables, open_tables
from tape_archive.tables.batch import conform, digest, latest, schema_of
from tape_archive.tables.laws import ALWAYS, Gap, Ids, Life, candles, found_in, funding, polled
from tape_archive.tables.schema import SPECS, Spec
from tests.support.rows import DAY, MIDNIGHT, SECOND, hard, rows

MINUTE = 60 * SECOND
TRADES, CANDLES = SPECS["trades"], SPECS["candles_1m"]


def plain(spec: Spec, *batches: Any) -> pa.Table:
    """What a store must give for these batches."""
    return latest(spec, pa.concat_tables([conform(spec, batch).cast(schema_of(spec)) for batch in batches]))


def same(got: pa.Table, wanted: pa.Table) -> None:
    assert got.schema.names == wanted.schema.names and got.schema.types == wanted.schema.types
    if digest(got) != digest(wanted):
        assert got.to_pylist() == wanted.to_pylist()
        raise AssertionError("equal as objects, different as bytes")


def one(tables: Tables, spec: Spec, batch: Any, number: int = 1, writer: str = "w") -> bool:
    return tables.insert(spec.name, batch, Cursor(writer, number, f"position {number}"))


def test_what_is_put_in_is_read(tables: Tables, again: Callable[[], Tables]) -> None:
    proofs = {}
    for spec in SPECS.values():
        batch = rows(spec, 200, step=777 * SECOND)
        assert one(tables, spec, batch)
        wanted = plain(spec, batch)
        same(tables.read(spec.name), wanted)
        assert tables.count(spec.name) == 200 and tables.symbols(spec.name) == sorted(set(batch["symbol"]))
        symbol = batch["symbol"][0]
        start, end = MIDNIGHT + 50 * 777 * SECOND, MIDNIGHT + 150 * 777 * SECOND
        within = [symbol == s and start <= t < end for s, t in zip(batch["symbol"], batch[spec.time], strict=True)]
        some = plain(
            spec, {name: [value for value, chosen in zip(values, within, strict=True) if chosen] for name, values in batch.items()}
        )
        same(tables.read(spec.name, symbol, start, end), some)
        same(tables.read(spec.name, symbol, start, end, columns=(spec.time, "symbol")), some.select([spec.time, "symbol"]))
        assert tables.count(spec.name, symbol, start, end) == len(some) > 0
        assert len(tables.read(spec.name, "nothing")) == 0 == tables.count(spec.name, None, end, start)
        assert tables.read(spec.name, where={"exchange": "ELSEWHERE"}).schema.types == wanted.schema.types
        proofs[spec.name] = tables.proof(spec.name)
    tables.close()
    other = again()
    other.create()
    assert {name: other.proof(name) for name in SPECS} == proofs and {proof.rows for proof in proofs.values()} == {200}
    assert other.cursors("w") == {name: Cursor("w", 1, "position 1") for name in SPECS} and other.cursors("v") == {}


def test_hard_names_and_numbers_come_back_as_they_were(tables: Tables) -> None:
    for spec in SPECS.values():
        batch = hard(spec)
        one(tables, spec, batch)
        same(tables.read(spec.name), plain(spec, batch))
        assert tables.symbols(spec.name) == sorted(set(batch["symbol"]), key=str.encode)
    for symbol in set(batch["symbol"]):
        got = tables.read(spec.name, symbol, where={"exchange": "BINANCE_FUTURES"})
        assert len(got) == batch["symbol"].count(symbol) and set(got["symbol"].to_pylist()) == {symbol}


def test_a_zero_byte_is_replaced(tables: Tables) -> None:
    batch = rows(TRADES, 2) | {"symbol": ["a\0b", "c"]}
    one(tables, TRADES, batch)
    assert tables.symbols("trades") == ["a\ufffdb", "c"]


def test_nulls_stay_nulls_and_empty_texts_empty(tables: Tables) -> None:
    spec = SPECS["gap_detection_log"]
    batch = rows(spec, 3) | {"error_message": [None, "", "NULL"], "interval": ["", "1m", "\\N"]}
    one(tables, spec, batch)
    got = {row["log_id"]: row for row in tables.read(spec.name).to_pylist()}
    assert [got[n]["error_message"] for n in range(3)] == [None, "", "NULL"] and [got[n]["interval"] for n in range(3)] == ["", "1m", "\\N"]


def test_times_are_utc_to_the_microsecond(tables: Tables) -> None:
    tokyo = timezone(timedelta(hours=9))
    at = [
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        datetime(2026, 3, 29, 10, 30, 0, 1, tzinfo=tokyo),
        datetime(2026, 10, 25, 0, 59, 59, 999999, tzinfo=UTC),
    ]
    batch = rows(TRADES, 3) | {"timestamp": at, "symbol": ["a"] * 3, "receipt_timestamp": [1_768_003_200_123_456_789] * 3}
    one(tables, TRADES, batch)
    got = tables.read("trades")
    assert got["timestamp"].to_pylist() == [moment.astimezone(UTC) for moment in at]
    assert got["receipt_timestamp"].cast(pa.int64()).to_pylist() == [1_768_003_200_123_456] * 3
    edge = int(at[1].timestamp() * 1_000_000) * 1000
    assert (
        tables.count("trades", "a", edge) == 2 == tables.count("trades", "a", edge - 999) and tables.count("trades", "a", None, edge) == 1
    )
    assert tables.count("trades", "a", edge + 1) == 1 and tables.count("trades", "a", None, edge + 1) == 2
    far = rows(TRADES, 2, seed=2) | {"timestamp": [0, 7_258_118_399_999_999_000], "symbol": ["far", "far"]}
    one(tables, TRADES, far, 2)
    assert tables.read("trades", "far")["timestamp"].cast(pa.int64()).to_pylist() == [0, 7_258_118_399_999_999]


@pytest.mark.parametrize(
    "change", [{"price": ["x", "y"]}, {"price": [1.0, None]}, {"price": [1.0]}, {"other": [1, 2]}, {"timestamp": [-1, 1]}, {"symbol": None}]
)
def test_a_batch_that_is_not_of_the_table_is_refused(tables: Tables, change: dict[str, Any]) -> None:
    batch = {name: values for name, values in (rows(TRADES, 2) | change).items() if values is not None}
    with pytest.raises(LocalError, match="trades"):
        one(tables, TRADES, batch)
    assert tables.cursors("w") == {} and tables.count("trades") == 0
    with pytest.raises(SettingsError, match="no table 'nothing'"):
        tables.count("nothing")


def test_a_batch_sent_again_changes_nothing(tables: Tables, again: Callable[[], Tables]) -> None:
    first, second = rows(TRADES, 50), rows(TRADES, 50, start=MIDNIGHT + 50 * SECOND, seed=2)
    assert one(tables, TRADES, first) and not one(tables, TRADES, first)
    assert one(tables, TRADES, second, 2) and not one(tables, TRADES, second, 2) and not one(tables, TRADES, first, 1)
    tables.close()
    other = again()
    assert not one(other, TRADES, second, 2)
    same(other.read("trades"), plain(TRADES, first, second))
    with pytest.raises(OutOfStep, match="another position"):
        other.insert("trades", first, Cursor("w", 2, "elsewhere"))
    for number in (0, -1, 4):
        with pytest.raises(OutOfStep, match="does not follow batch 2"):
            one(other, TRADES, first, number)
    assert other.count("trades") == 100
    assert one(other, CANDLES, rows(CANDLES, 5)) and one(other, TRADES, {name: [] for name in first}, 3)
    assert {table: cursor.batch for table, cursor in other.cursors("w").items()} == {"trades": 3, "candles_1m": 1}


def test_of_one_key_the_latest_stands(tables: Tables) -> None:
    """In one batch, over batches, over writers, and whatever the order they come in."""
    late, early = rows(CANDLES, 10), rows(CANDLES, 10, seed=2)
    early["receipt_timestamp"] = [time - SECOND for time in late["receipt_timestamp"]]
    both = {name: early[name][:5] + values + early[name][5:] for name, values in late.items()}
    one(tables, CANDLES, both)
    same(tables.read("candles_1m"), plain(CANDLES, late))
    one(tables, CANDLES, early, 1, "backfill")
    same(tables.read("candles_1m"), plain(CANDLES, late))
    later = rows(CANDLES, 10, seed=3) | {"receipt_timestamp": [time + SECOND for time in late["receipt_timestamp"]]}
    one(tables, CANDLES, later, 2, "backfill")
    same(tables.read("candles_1m"), plain(CANDLES, later))
    assert tables.count("candles_1m") == 10 == tables.proof("candles_1m").rows


BATCHES = st.lists(st.tuples(st.sampled_from("ab"), st.sets(st.integers(0, 60), max_size=12), st.booleans(), st.booleans()), max_size=8)


@settings(max_examples=7, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_whatever_is_sent_again_nothing_is_lost_or_doubled(tables: Tables, again: Callable[[], Tables], batches: list[Any]) -> None:
    """Two writers whose rows overlap; batches sent again; the store opened again. A model says what must be there."""
    spec, store = SPECS["open_interest"], tables
    symbol = f"S{len(tables.symbols(spec.name))}"
    numbers = {writer: store.cursors(writer).get(spec.name, Cursor(writer, 0)).batch for writer in "ab"}
    model: dict[int, tuple[int, float]] = {}
    for step, (writer, minutes, resend, reopen) in enumerate([("a", {0}, False, False), *batches]):
        numbers[writer] += 1
        batch = rows(spec, len(minutes), symbols=[symbol], seed=step)
        batch["timestamp"] = [MIDNIGHT + minute * 3600 * SECOND for minute in minutes]
        # What one writer brings is ever later, what the other one brings ever earlier.
        batch["receipt_timestamp"] = [MIDNIGHT + (100 + step if writer == "a" else 100 - step) * SECOND for _ in minutes]
        cursor = Cursor(writer, numbers[writer], str(step))
        assert store.insert(spec.name, batch, cursor)
        for time, received, value in zip(batch["timestamp"], batch["receipt_timestamp"], batch["open_interest"], strict=True):
            model[time] = max(model.get(time, (0, 0.0)), (received, value))
        if reopen:
            store.close()
            store = again()
        if resend:
            assert not store.insert(spec.name, batch, cursor) and store.cursors(writer)[spec.name] == cursor
    got = store.read(spec.name, symbol)
    keys = [time * 1000 for time in got["timestamp"].cast(pa.int64()).to_pylist()]
    assert dict(zip(keys, got["open_interest"].to_pylist(), strict=True)) == {time: value for time, (_, value) in model.items()}
    assert len(keys) == len(model)
    store.close()


def test_many_small_batches_and_a_reader(tables: Tables, again: Callable[[], Tables]) -> None:
    """A reader that never stops sees each row at most once, and never fewer than before."""
    reader, seen = again(), 0
    for number in range(1, 121):
        one(tables, TRADES, rows(TRADES, 3, start=MIDNIGHT + number * 3 * SECOND, seed=number), number)
        if number % 7 == 0:
            got = reader.read("trades")
            assert len(set(zip(got["symbol"].to_pylist(), got["timestamp"].to_pylist(), strict=True))) == len(got) == number * 3 > seen
            seen = len(got)
    wanted = plain(TRADES, *(rows(TRADES, 3, start=MIDNIGHT + n * 3 * SECOND, seed=n) for n in range(1, 121)))
    same(tables.read("trades"), wanted)


def test_prune_removes_the_older_and_nothing_else(tables: Tables) -> None:
    for spec in (TRADES, CANDLES, SPECS["candles_4h"], SPECS["funding"], SPECS["instruments"]):
        batch = rows(spec, 300, start=MIDNIGHT - 9 * DAY, step=3 * 3600 * SECOND + 1_000_000)
        one(tables, spec, batch)
        before = MIDNIGHT + 7 * 3600 * SECOND
        tables.prune(spec.name, before)
        kept = [time >= before for time in batch[spec.time]]
        wanted = plain(spec, {name: [value for value, keep in zip(values, kept, strict=True) if keep] for name, values in batch.items()})
        same(tables.read(spec.name), wanted)
        assert 0 < len(wanted) < 300
        tables.prune(spec.name, before)
        same(tables.read(spec.name), wanted)
        # What was removed may come again: a batch is known by its number, a row by its key, and nothing else.
        assert one(tables, spec, batch, 2)
        same(tables.read(spec.name), plain(spec, batch))


def test_pruning_beside_inserts(tables: Tables, again: Callable[[], Tables]) -> None:
    """A clean-up by another connection, again and again, while rows come in: exactly the older ones go."""
    cleaner, failed = again(), []
    old = rows(TRADES, 3000, start=MIDNIGHT - 3 * DAY, step=80 * SECOND)
    one(tables, TRADES, old)
    new = [rows(TRADES, 20, start=MIDNIGHT + number * 20 * SECOND, seed=number) for number in range(40)]

    def write() -> None:
        try:
            for number, batch in enumerate(new):
                one(tables, TRADES, batch, number + 1, "v")
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    removed, before = 0, MIDNIGHT - 3 * DAY
    while thread.is_alive() or before < MIDNIGHT:
        before = min(before + DAY // 3, MIDNIGHT)
        removed += cleaner.prune("trades", before)
        assert cleaner.count("trades", None, None, before) == 0
    thread.join()
    assert not failed and removed == 3000 - sum(time >= MIDNIGHT for time in old["timestamp"])
    kept = {name: [value for value, time in zip(values, old["timestamp"], strict=True) if time >= MIDNIGHT] for name, values in old.items()}
    same(tables.read("trades"), plain(TRADES, kept, *new))


def test_a_million_rows_at_once(tables: Tables) -> None:
    count = 1_000_000
    at = np.arange(count, dtype=np.int64)
    names = [f"S{n:03d}-USDT-PERP" for n in range(600)]
    batch = {
        "timestamp": MIDNIGHT + at // 600 * MINUTE,
        "receipt_timestamp": MIDNIGHT + at // 600 * MINUTE + SECOND,
        "exchange": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), ["BINANCE_FUTURES"]),
        "symbol": pa.DictionaryArray.from_arrays(pa.array((at % 600).astype(np.int32)), names),
        **{name: np.round(at % 977 * 0.1, 1) for name in ("open", "high", "low", "close", "volume")},
        "trades": at,
    }
    one(tables, CANDLES, batch)
    assert tables.count("candles_1m") == count
    got = tables.read("candles_1m", names[7])
    assert got["trades"].to_pylist() == [n for n in range(count) if n % 600 == 7]
    found = tables.missing("candles_1m", {name: ALWAYS for name in names}, MIDNIGHT, MIDNIGHT + 1667 * MINUTE, candles("1m"))
    assert [name for name, gaps in found.items() if gaps] == names[400:] and found[names[599]] == [
        Gap(MIDNIGHT + 1666 * MINUTE, MIDNIGHT + 1667 * MINUTE, 1)
    ]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_missing_candles_against_brute_force(tables: Tables, data: st.DataObject) -> None:
    have = tables.cursors("w").get("candles_5m", Cursor("w", 0)).batch
    law, step = candles("5m"), 5 * MINUTE
    span = 700
    lives, wanted = {}, {}
    start, end = MIDNIGHT + data.draw(st.integers(0, 40)) * MINUTE, MIDNIGHT + data.draw(st.integers(2000, 3000)) * MINUTE
    for number in range(3):
        symbol = f"S{have}-{number}"
        holes = data.draw(st.sets(st.integers(0, span), max_size=20)) | set(
            range(*sorted(data.draw(st.tuples(*[st.integers(0, span)] * 2))))
        )
        kept = [n for n in range(span) if n not in holes]
        batch = rows(SPECS["candles_5m"], len(kept), symbols=[symbol])
        batch["timestamp"] = [MIDNIGHT + n * step for n in kept]
        have += 1
        one(tables, SPECS["candles_5m"], batch, have)
        listed, delisted = (data.draw(st.none() | st.integers(0, span * 5)) for _ in range(2))
        life = Life(None if listed is None else MIDNIGHT + listed * MINUTE, None if delisted is None else MIDNIGHT + delisted * MINUTE)
        lives[symbol] = life
        wanted[symbol] = law.gaps(found_in(law.numbers(np.array(batch["timestamp"], np.int64))), start, end, life)
    assert tables.missing("candles_5m", lives, start, end, law) == wanted


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_missing_trades_against_brute_force(tables: Tables, data: st.DataObject) -> None:
    """Ids rise with time, ten a minute; rows outside the span bound what is missing at its ends."""
    have = tables.cursors("w").get("trades", Cursor("w", 0)).batch
    symbol, count, base = f"T{have}", 4000, data.draw(st.sampled_from((0, 2**31 - 50, 2**40)))
    holes = data.draw(st.sets(st.integers(0, count - 1), max_size=20)) | set(
        range(*sorted(data.draw(st.tuples(*[st.integers(0, count)] * 2))))
    )
    kept = [n for n in range(count) if n not in holes]
    batch = rows(TRADES, len(kept), symbols=[symbol])
    batch["timestamp"] = [MIDNIGHT + n // 10 * MINUTE for n in kept]
    batch["trade_id"] = [base + n for n in kept]
    one(tables, TRADES, batch, have + 1)
    low, high = sorted(data.draw(st.tuples(*[st.integers(0, count // 10)] * 2)))
    start, end = MIDNIGHT + low * MINUTE, MIDNIGHT + high * MINUTE
    found = tables.missing("trades", {symbol: ALWAYS}, start, end, Ids())[symbol]
    inside = [n for n in kept if low <= n // 10 < high]
    if not inside and not ([n for n in kept if n // 10 < low] and [n for n in kept if n // 10 >= high]):
        assert found == []
        return
    edges = [*[n for n in kept if n // 10 < low][-1:], *inside, *[n for n in kept if n // 10 >= high][:1]]
    wanted = [n for n in range(edges[0], edges[-1]) if n not in set(kept)]
    assert [n for gap in found for n in range((gap.first or 0) - base, (gap.last or 0) - base + 1)] == wanted
    for gap in found:
        assert (
            gap.start == MIDNIGHT + ((gap.first or 0) - base - 1) // 10 * MINUTE
            and gap.end == MIDNIGHT + ((gap.last or 0) - base + 1) // 10 * MINUTE
        )


def test_missing_of_other_laws(tables: Tables) -> None:
    hours = 3600 * SECOND
    spec = SPECS["funding"]
    batch = rows(spec, 20, start=MIDNIGHT + 3_000_000, step=8 * hours, symbols=["A"])
    del_7 = {name: values[:7] + values[8:] for name, values in batch.items()}
    one(tables, spec, del_7)
    assert tables.missing(
        "funding", {"A": ALWAYS, "B": Life(MIDNIGHT + 9 * hours, MIDNIGHT + 17 * hours)}, MIDNIGHT, MIDNIGHT + 160 * hours, funding()
    ) == {
        "A": [Gap(MIDNIGHT + 56 * hours, MIDNIGHT + 64 * hours, 1)],
        "B": [Gap(MIDNIGHT + 16 * hours, MIDNIGHT + 24 * hours, 1)],
    }
    spec = SPECS["open_interest"]
    batch = rows(spec, 300, start=MIDNIGHT + 1_700_000_000, step=5 * SECOND, symbols=["A"])
    one(tables, spec, {name: values[:100] + values[103:] for name, values in batch.items()})
    found = tables.missing("open_interest", {"A": ALWAYS}, MIDNIGHT, MIDNIGHT + 1500 * SECOND, polled(5))
    assert found == {"A": [Gap(MIDNIGHT + 500 * SECOND, MIDNIGHT + 515 * SECOND, 3)]}
    spec = SPECS["custom_candles"]
    threes, others = (rows(spec, 10, step=3 * MINUTE, symbols=["A"]) | {"interval": [name] * 10} for name in ("3m", "45m"))
    one(tables, spec, {name: values[:4] + values[5:] + others[name] for name, values in threes.items()})
    found = tables.missing("custom_candles", {"A": ALWAYS}, MIDNIGHT, MIDNIGHT + 30 * MINUTE, candles("3m"), {"interval": "3m"})
    assert found == {"A": [Gap(MIDNIGHT + 12 * MINUTE, MIDNIGHT + 15 * MINUTE, 1)]}
    elsewhere = {"interval": "3m", "exchange": "ELSEWHERE"}
    assert tables.missing("custom_candles", {"A": ALWAYS}, MIDNIGHT, MIDNIGHT + 30 * MINUTE, candles("3m"), elsewhere)["A"][0].rows == 10


@pytest.mark.parametrize("url", ["mysql://x", "parquet://"])
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(SettingsError):
        open_tables(url)
