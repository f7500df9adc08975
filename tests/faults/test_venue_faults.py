"""Whatever the venue does: recording goes on, what was received is on the tape, and at the end the book is the venue's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tape_access import coverage
from tape_archive.format.lines import Line
from tape_collectors.simulator.faults import Fault
from tape_collectors.venues import binance
from tests.support.recording import rows, tape
from tests.support.running import SYMBOLS, Run, gaps


@pytest.mark.parametrize("venue", ["binance_spot", "binance_usdm"])
async def test_dropped_doubled_and_reordered_frames(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue) as run:
        for kind in ("drop", "duplicate", "reorder"):
            with run.simulator.faults.on(kind, venue=venue, p=0.1) as fault:
                await run.until(lambda fault=fault: fault.count > 25)
        with run.simulator.faults.on("drop", venue=venue, stream="*depth*", p=0.3) as fault:
            await run.until(lambda: fault.count > 5)
        await run.proven_again()
    _, marks = run.check()
    assert marks["gap"] > 0 and gaps(run, "depth") > 0


@pytest.mark.parametrize("venue", ["binance_spot", "binance_usdm"])
async def test_books_are_compared_with_rest_and_a_difference_is_named(tmp_path: Path, venue: str) -> None:
    async with Run(tmp_path, venue, rest_every_s=0.5) as run:

        def marks(kind: str) -> list[Line]:
            return [line for line in tape(tmp_path) if line.mark == kind]

        await run.until(lambda: len(marks("anchor")) >= 6)
        assert {str(line.fields["symbol"]) for line in marks("anchor")} == set(SYMBOLS)
        assert all(int(line.fields["levels"]) > 100 for line in marks("anchor")) and not marks("diff")
        one = run.simulator.markets[venue].instruments["ETHUSDT"]
        price = sorted(one.bids)[20]
        one.bids[price] += 7
        await run.until(lambda: marks("diff"))
        found = marks("diff")[0].fields
        assert found["symbol"] == "ETHUSDT" and [row[:2] for row in found["levels"]] == [["bid", one.price_text(price)]]
        one.bids[price] -= 7
    run.check()


async def test_garbage_and_cut_frames_are_on_the_tape_and_said(tmp_path: Path) -> None:
    async with Run(tmp_path, "binance_spot") as run:
        for kind in ("garbage", "truncate"):
            with run.simulator.faults.on(kind, p=0.2) as fault:
                await run.until(lambda fault=fault: fault.count > 15)
        await run.proven_again()
    lines, marks = run.check()
    assert marks["unknown"] > 5
    assert any(line.data and not line.data.endswith(b"}") for line in lines if line.mark is None), "cut frames are on the tape as they came"


async def test_a_cut_a_close_and_refused_sockets(tmp_path: Path) -> None:
    async with Run(tmp_path, "binance_usdm") as run:
        for fault in (Fault("disconnect"), Fault("close", code=1013), Fault("close", code=1001)):
            run.simulator.once(fault)
            await run.proven_again()
        with run.simulator.faults.on("refuse") as refused:
            run.simulator.once(Fault("disconnect"))
            await run.until(lambda: refused.count >= 3)
        await run.proven_again()
    lines, marks = run.check()
    reasons = {str(line.fields.get("why")) for line in lines if line.mark == "close"}
    assert marks["close"] >= 8 and any("1013" in why for why in reasons) and "connection lost" in reasons
    assert gaps(run, "bookTicker") >= 2


async def test_a_silent_stream_is_asked_for_again_and_no_other(tmp_path: Path) -> None:
    async with Run(tmp_path, "binance_spot") as run:
        await run.until(lambda: sum(run.simulator.servers["binance_spot"].sent.values()) > 300)
        with run.simulator.faults.on("silence", stream="btcusdt@bookTicker") as fault:
            await run.until(lambda: any(line.mark == "silent" for line in tape(run.root)), 25)
            assert fault.count > 10
        await run.proven_again()
    lines, marks = run.check()
    assert {(line.fields["symbol"], line.fields["channel"]) for line in lines if line.mark == "silent"} == {("BTCUSDT", "bookTicker")}
    assert marks["open"] == marks["close"] == 1, "the connection stayed"


async def test_a_stream_on_the_wrong_root_is_acked_silent_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance.Binance, "root_of", lambda self, channel: "public")
    async with Run(tmp_path, "binance_usdm", channels=("depth@100ms", "aggTrade")) as run:
        await run.until(lambda: sum(line.mark == "silent" for line in tape(run.root)) >= 2)
    lines, _ = run.check()
    assert {line.fields["channel"] for line in lines if line.mark == "silent"} == {"aggTrade"}
    assert all(line.fields["first"] for line in lines if line.mark == "silent")
    assert any(gap.why == "no frame ever came" for row in coverage.of_root(run.root) if row.channel == "aggTrade" for gap in row.gaps)


async def test_a_half_open_socket_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance, "SPOT", msgspec.structs.replace(binance.SPOT, silence_s=2.0))
    async with Run(tmp_path, "binance_spot", silence_s=60.0) as run:
        with run.simulator.faults.on("half_open") as fault:
            await run.until(lambda: fault.count > 5)
            for client in run.simulator.servers["binance_spot"].clients:
                client.socket.transport.pause_reading()
            await run.until(lambda: any(line.mark == "close" for line in tape(run.root)), 25)
        await run.proven_again()
    run.check()


@pytest.mark.parametrize("why", ["lifetime", "shutdown"])
async def test_a_planned_replacement_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "lifetime":
        monkeypatch.setattr(binance, "SPOT", msgspec.structs.replace(binance.SPOT, lifetime_s=3.0))
    async with Run(tmp_path, "binance_spot") as run:
        if why == "shutdown":
            run.simulator.once(Fault("shutdown"))
        await run.until(lambda: sum(line.mark == "close" for line in tape(run.root)) >= (2 if why == "lifetime" else 1), 30)
        await run.proven_again()
    lines, _ = run.check()
    assert "replaced" in {line.fields.get("why") for line in lines if line.mark == "close"}
    assert all(row.complete for row in coverage.of_root(run.root)), "no stream has a gap"
    for symbol in SYMBOLS:
        errors = [row["err"] for row in rows(run.root / "logs" / "cex.csv") if row["symbol"] == symbol]
        assert not any(errors[errors.index("") :]), "once it was proven, the series was never without a book"


async def test_rest_that_refuses_is_obeyed_and_a_stale_book_is_not_believed(tmp_path: Path) -> None:
    async with Run(tmp_path, "binance_spot") as run:
        for kind in ("rest_429", "rest_html", "stale_snapshot", "rest_down"):
            p = {"rest_429": 0.5, "rest_html": 0.0}.get(kind, 0.6)
            with run.simulator.faults.on(kind, p=p, delay_s=0.5):
                run.simulator.once(Fault("disconnect"))
                await run.proven_again()
    lines, _ = run.check()
    assert any(line.request and line.status == 200 for line in lines)
