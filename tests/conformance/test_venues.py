"""What every venue and market must show, by the real recorder against the simulator of that venue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tape_access import coverage
from tape_archive.format.layout import segments
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import read_lines
from tape_archive.format.records import BookSnapshot, Record, Trade, Unknown
from tape_collectors.market.replay import Replay
from tape_collectors.simulator.faults import Fault
from tape_collectors.simulator.world import EXCHANGES
from tape_collectors.venues import load
from tests.support.recording import rows, tape
from tests.support.running import SYMBOLS, Run, gaps

VENUES = list(EXCHANGES)
#: venues that count their book updates anew after maintenance
RESTARTS = [venue for venue in VENUES if not venue.startswith("binance")]


def records(root: Path, venue: str) -> Iterator[Record]:
    """What a reader makes of the tapes."""
    replays: dict[str, Replay] = {}
    for segment in segments(root, venue):
        replay = replays.setdefault(segment.stream, Replay(load(venue).feed))
        for line in map(parse, read_lines(segment.file)):
            yield from (record for _, record in replay.line(line))


def marks(root: Path, kind: str) -> list[Line]:
    return [line for line in tape(root) if line.mark == kind]


@pytest.mark.parametrize("venue", VENUES)
async def test_everything_is_decoded_and_trades_are_the_venues(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue) as run:
        await asyncio.sleep(2.0)
    run.check()
    found = list(records(tmp_path, venue))
    assert not [record for record in found if isinstance(record, Unknown)]
    for symbol in SYMBOLS:
        native = load(venue).native(symbol)
        trades = [record for record in found if isinstance(record, Trade) and record.symbol == native]
        assert len(trades) > 20 and len({trade.id for trade in trades}) == len(trades)
        assert {(float(trade.price), float(trade.size), trade.side) for trade in trades} <= run.fills[symbol]
    assert all(row.complete for row in coverage.of_root(tmp_path))


@pytest.mark.parametrize("venue", VENUES)
async def test_dropped_doubled_and_reordered_frames(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue) as run:
        for kind in ("duplicate", "reorder"):
            with run.simulator.faults.on(kind, venue=venue, p=0.1) as fault:
                await run.until(lambda fault=fault: fault.count > 25)
        with run.simulator.faults.on("drop", venue=venue, stream=run.depth, p=0.3) as fault:
            await run.until(lambda: fault.count > 12)
        await run.proven_again()
    _, told = run.check()
    assert told["gap"] > 0 and gaps(run, run.depth_channel) > 0


@pytest.mark.parametrize("venue", VENUES)
async def test_a_book_whose_first_frames_are_lost_comes_all_the_same(tmp_path: Path, venue: str) -> None:
    """The stream speaks on, so no watchdog asks for what is missing."""
    async with Run(tmp_path, venue, wait=False) as run:
        with run.simulator.faults.on("drop", venue=venue, stream=run.depth, at=(0, 1)) as fault:
            await run.begin()
            await run.until(lambda: fault.count == 2)
            await run.proven_again()
    run.check()


@pytest.mark.parametrize("venue", VENUES)
async def test_books_are_compared_with_rest_and_a_difference_is_named(tmp_path: Path, venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    native = load(venue).native("ETHUSDT")
    kind = type(load(venue).feed(load(venue).groups(["ETHUSDT"], [], {})[0].name))
    anchored, wrong = kind.anchored, {"price": ""}

    def other(feed: object, t: int, request: str, data: bytes) -> BookSnapshot | None:
        """What REST says, with one size that the stream never had."""
        book: BookSnapshot | None = anchored(feed, t, request, data)
        if book is None or book.symbol != native or not wrong["on"]:
            return book
        bids = sorted(book.bids, key=lambda level: -float(level[0]))
        wrong["price"] = wrong["price"] or bids[40][0]
        bids = [(price, "123456" if float(price) == float(wrong["price"]) else size) for price, size in bids]
        return msgspec.structs.replace(book, bids=bids)

    monkeypatch.setattr(kind, "anchored", other)
    wrong["on"] = ""
    async with Run(tmp_path, venue, rest_every_s=0.5) as run:
        await run.until(lambda: len(marks(tmp_path, "anchor")) >= 6, 40.0)
        assert {str(line.fields["symbol"]) for line in marks(tmp_path, "anchor")} == {load(venue).native(symbol) for symbol in SYMBOLS}
        assert all(int(line.fields["levels"]) >= 100 for line in marks(tmp_path, "anchor")) and not marks(tmp_path, "diff")
        wrong["on"] = "yes"
        await run.until(lambda: marks(tmp_path, "diff"), 40.0)
        wrong["on"] = ""
        (side, price, _, theirs), *more = marks(tmp_path, "diff")[0].fields["levels"]
        assert marks(tmp_path, "diff")[0].fields["symbol"] == native and not more
        assert (side, float(price), theirs) == ("bid", float(wrong["price"]), "123456")
    run.check()


@pytest.mark.parametrize("venue", RESTARTS)
async def test_a_venue_that_begins_anew_is_a_reset_and_no_gap(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue) as run:
        for kind in ("resend", "restart"):
            fault = Fault(kind)
            run.simulator.once(fault)
            assert fault.count > 0 or (kind, venue) == ("resend", "mexc_spot"), "MEXC sends no whole books"
            await run.proven_again()
    _, told = run.check()
    assert told["reset"] > 0 and not told["gap"] and not gaps(run, run.depth_channel)


@pytest.mark.parametrize("venue", ["okx_spot", "okx_swap"])
async def test_books_that_begin_without_a_snapshot_are_asked_by_rest(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue, wait=False) as run:
        with run.simulator.faults.on("no_snapshot"):
            await run.begin()
            await run.until(lambda: len(rows(tmp_path / "logs" / "cex.csv")) > 0)
            await run.proven_again()
    run.check()
    assert any(isinstance(record, BookSnapshot) and record.source == "rest" for record in records(tmp_path, venue))


@pytest.mark.parametrize("venue", ["binance_spot", "binance_usdm", "okx_spot", "okx_swap", "gate_spot", "gate_usdt"])
async def test_a_venue_that_goes_down_says_so_and_is_left_in_time(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue) as run:
        run.simulator.once(Fault("shutdown"))
        await run.until(lambda: marks(tmp_path, "close"))
        await run.proven_again()
    run.check()
    assert "replaced" in {str(line.fields["why"]) for line in marks(tmp_path, "close")}
    assert all(row.complete for row in coverage.of_root(tmp_path)), [row for row in coverage.of_root(tmp_path) if not row.complete]


async def test_a_first_push_before_its_ack_and_quotes_without_a_body(tmp_path: Path) -> None:
    for venue, fault in (("gate_spot", "early"), ("gate_usdt", "early"), ("mexc_spot", "empty")):
        root = tmp_path / venue
        async with Run(root, venue, wait=False) as run:
            with run.simulator.faults.on(fault) as switched:
                await run.begin()
                await run.until(lambda switched=switched: switched.count >= 2)
            await run.proven_again()
        run.check()
        assert not [record for record in records(root, venue) if isinstance(record, Unknown)]


@pytest.mark.parametrize("venue", RESTARTS)
async def test_a_refused_subscription_is_said_and_silences_no_other(tmp_path: Path, venue: str) -> None:
    native = load(venue).native("ETHUSDT")
    async with Run(tmp_path, venue, wait=False) as run:
        with run.simulator.faults.on("blocked", stream=f"*{native}*") as blocked:
            await run.begin()
            await run.until(lambda: marks(tmp_path, "refused") and blocked.count > 0)
            await run.until(lambda: any(b"BTC" in (line.data or b"") for line in tape(tmp_path)) and len(marks(tmp_path, "refused")) > 2)
        assert {str(line.fields["symbol"]) for line in marks(tmp_path, "refused")} == {native}
    assert run.code == 0


@pytest.mark.parametrize("venue", VENUES)
async def test_a_subscription_that_never_speaks_is_asked_for_again_and_no_other_is(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue, wait=False) as run:
        with run.simulator.faults.on("silence", stream=run.of("ETHUSDT")) as silent:
            await run.begin()
            await run.until(lambda: any(line.fields["first"] for line in marks(tmp_path, "silent")) and silent.count > 0)
        await run.proven_again()
        assert Counter(str(line.fields["symbol"]) for line in marks(tmp_path, "silent")).keys() == {load(venue).native("ETHUSDT")}
    run.check()


@pytest.mark.parametrize("venue", VENUES)
async def test_a_planned_replacement_loses_and_doubles_nothing(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue, lifetime_s=5.0) as run:
        await run.until(lambda: len(marks(tmp_path, "close")) >= 2)
        await run.proven_again()
    run.check()
    assert {str(line.fields["why"]) for line in marks(tmp_path, "close")} == {"replaced", "stopped"}
    assert all(row.complete for row in coverage.of_root(tmp_path)), [row for row in coverage.of_root(tmp_path) if not row.complete]


@pytest.mark.parametrize("venue", VENUES)
async def test_instruments_that_come_go_and_change_are_told(tmp_path: Path, venue: str) -> None:
    native = load(venue).native("ETHUSDT")
    async with Run(tmp_path, venue, listing_every_s=0.3) as run:
        await run.until(lambda: len(marks(tmp_path, "listing")) >= 2)
        first = {line.fields["name"] for line in marks(tmp_path, "listing")}
        assert first == {name + ("" if venue.endswith("_spot") else "-PERP") for name in ("BTC-USDT", "ETH-USDT")}
        instruments = run.simulator.markets[venue].instruments
        instruments["ETHUSDT"].tick += 1
        await run.until(lambda: any(line.fields["what"] == "tick" for line in marks(tmp_path, "listing")))
        instruments["ETHUSDT"].tick -= 1
        run.simulator.paused = True
        gone = instruments.pop("ETHUSDT")
        await run.until(lambda: any(line.fields["what"] == "gone" for line in marks(tmp_path, "listing")))
        instruments["ETHUSDT"] = gone
        await run.until(lambda: any(line.fields["what"] == "listed" for line in marks(tmp_path, "listing")))
    assert {str(line.fields["symbol"]) for line in marks(tmp_path, "listing") if line.fields["what"] != "first"} == {native}
