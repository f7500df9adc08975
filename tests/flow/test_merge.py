"""Two recordings of the same streams as one: exactly what both missed is missing, and books are the venue's."""

from __future__ import annotations

import asyncio
import filecmp
import json
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tape_access import book, coverage
from tape_archive.format.layout import segments
from tape_archive.format.lines import Line, parse, time_of
from tape_archive.format.read import read_lines
from tape_collectors.merging import merge_roots
from tape_collectors.series import derive
from tape_collectors.simulator.faults import Fault
from tape_collectors.simulator.server import Client
from tape_collectors.simulator.world import EXCHANGES, Simulator
from tape_collectors.venues import load
from tests.support.recording import arguments, environment, tape

#: streams whose holes can be seen
BOOKS = re.compile(r"depth|orderbook\.200|books:|obu|order_book_update")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
CLOCK = """
import sys, time
from tape_archive.format.clock import TapeClock
from tape_collectors import wiring
ahead = int(sys.argv.pop(1))
wiring.TapeClock = lambda after: TapeClock(lambda: time.time_ns() + ahead, time.monotonic_ns, after)
from tape_collectors.cli.cex_record import main
main()
"""


def recorder(root: Path, venue: str, endpoints: dict[str, str], ahead_ns: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CLOCK, str(ahead_ns), "--root", str(root), "--venues", venue, "--symbols", ",".join(SYMBOLS)]
    options = ["--hz", "5", "--split-hours", "0", "--metrics-port", "-1", "--log-level", "error", "--rest-every", "0"]
    return subprocess.Popen([*command, *options, *arguments(endpoints)], env=environment(TAPE_LISTING_EVERY_S="0"))


def frames(root: Path, venue: str) -> list[Line]:
    return [line for line in tape(root, venue) if line.data is not None and line.request is None]


def market(line: Line) -> bool:
    """Not an ack or a pong."""
    return not any(
        word in (line.data or b"") for word in (b'"result":null', b'"event":"subscribe"', b'"op":', b'"code":0', b"pong", b'"connId"')
    )


async def both(tmp_path: Path, venue: str, ahead_ns: int) -> tuple[Simulator, list[Path], set[bytes], list[set[bytes]]]:
    """Two recorders, each of which misses one frame in fifty of its own; what the venue sent, and what each got."""
    roots = [tmp_path / "a", tmp_path / "b"]
    simulator = Simulator([venue], symbols=SYMBOLS, seed=3)
    chance = random.Random(11)
    sent: dict[int, set[bytes]] = {}
    async with simulator:
        server = simulator.servers[venue]
        send = server.send

        def lossy(client: Client, stream: str, text: str) -> None:
            raw = text.encode("latin-1" if venue.startswith("mexc") else "utf-8")
            sent.setdefault(client.number, set()).add(raw)
            if lossy.on and chance.random() < 0.02:
                lossy.dropped.setdefault(client.number, set()).add(raw)
                if BOOKS.search(stream):
                    lossy.books[client.number] = lossy.books.get(client.number, 0) + 1
                return
            send(client, stream, text)

        lossy.on = False
        lossy.dropped = {}
        lossy.books = {}
        server.send = lossy
        children = [recorder(root, venue, simulator.endpoints, ahead) for root, ahead in zip(roots, (0, ahead_ns), strict=True)]
        try:
            for _ in range(200):
                await asyncio.sleep(0.1)
                if all((root / "logs" / "cex.csv").exists() and len(frames(root, venue)) > 50 for root in roots):
                    break
            await asyncio.sleep(1.0)
            lossy.on = True
            for _ in range(60):
                await asyncio.sleep(0.5)
                if len(lossy.books) >= 2 and min(lossy.books.values()) >= 5:
                    break
            lossy.on = False
            await asyncio.sleep(2.0)
            simulator.paused = True
            await asyncio.sleep(0.6)
        finally:
            for child in children:
                child.send_signal(signal.SIGTERM)
            codes = [await asyncio.to_thread(child.wait, 20) for child in children]
    assert codes == [0, 0]
    return simulator, roots, set().union(*sent.values()), list(lossy.dropped.values())


@pytest.mark.parametrize("venue", list(EXCHANGES))
async def test_the_merged_tape_lacks_exactly_what_both_missed(tmp_path: Path, venue: str) -> None:
    ahead = 750_000_000
    simulator, roots, sent, dropped = await both(tmp_path, venue, ahead)
    got = [{line.data for line in frames(root, venue) if market(line)} for root in roots]
    assert all(len(some) > 300 for some in got) and len(dropped) >= 2 and all(dropped)
    out = tmp_path / "c"
    done = merge_roots(roots, out)

    merged = [line for line in frames(out, venue) if market(line)]
    assert {line.data for line in merged} == got[0] | got[1], "nothing that one of them had is missing, and nothing is new"
    if venue != "binance_usdm":
        assert len(merged) == len(got[0] | got[1]), "each frame once"
        assert all(abs(one.offsets_ns[1] - ahead) < 50_000_000 for one in done), "the clocks' difference is found"
    for segment in segments(out):
        times = [time_of(line) for line in read_lines(segment.file, sealed=True)]
        assert times == sorted(set(times))

    alone = [sum(len(row.gaps) for row in coverage.of_root(root)) for root in roots]
    left = [(row.symbol, row.channel, gap) for row in coverage.of_root(out) for gap in row.gaps]
    assert all(alone) and len(left) < min(alone), (alone, left)
    if venue != "binance_usdm":
        filled = [line.fields for line in tape(out, venue) if line.mark == "filled"]
        assert {one["missed"] for one in filled} == {"a", "b"} and sum(one.filled for one in done) == len(filled)
        for one in filled:
            rows = got[1] if one["missed"] == "a" else got[0]
            assert any(str(one["to_id"]).encode() in data for data in rows), one
    missed = sent - got[0] - got[1]
    for _, _, gap in left:
        if gap.from_id:
            assert any(str(id).encode() in data for data in missed for id in (gap.from_id, gap.to_id)), gap
    for symbol in SYMBOLS:
        one = simulator.markets[venue].instruments[symbol]
        view = book.at(out, venue, load(venue).native(symbol), depth=30)
        assert view.proven
        assert [(float(price), float(size)) for price, size in view.bids] == [
            (float(one.price_text(price)), float(one.size_text(one.bids[price]))) for price in sorted(one.bids, reverse=True)[:30]
        ]
    derive.write(out, tmp_path / "derived")
    assert (tmp_path / "derived" / "logs" / "cex.csv").stat().st_size > 5000


async def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(subprocess.run, command, env=environment(), capture_output=True, text=True, check=False)


async def test_merging_again_gives_the_same_bytes_and_the_command_says_what_it_did(tmp_path: Path) -> None:
    _, roots, _, _ = await both(tmp_path, "bybit_spot", -300_000_000)
    merge_roots(roots, tmp_path / "c")
    command = [sys.executable, "-m", "tape_archive", "merge", *map(str, roots), "--out", str(tmp_path / "d"), "--json"]
    first = await ran(command)
    assert first.returncode in (0, 3), first.stderr
    (told,) = json.loads(first.stdout)
    assert told["both"] > 300 and all(count > 0 for count in told["only"]) and told["frames"] >= told["both"] + sum(told["only"])
    for one, other in zip(segments(tmp_path / "c"), segments(tmp_path / "d"), strict=True):
        assert filecmp.cmp(one.file, other.file, shallow=False)
    verify = [sys.executable, "-m", "tape_archive", "verify", "--root", str(tmp_path / "d")]
    assert (await ran(verify)).returncode == 0
    again = await ran(command)
    assert again.returncode == 2 and "choose another --out" in again.stderr and "Traceback" not in again.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["raw"]


def test_marks_of_the_merged_tape(tmp_path: Path) -> None:
    """One epoch as long as any side is connected; gaps of one side alone are not carried."""
    from tape_archive.format.lines import frame_line, mark_line
    from tape_archive.format.tape import Tape

    start = 1_800_000_000_000_000_000
    trades = [
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1","q":"1","T":1,"m":true}}' % n
        for n in range(1, 11)
    ]

    def side(name: str, have: range, closed: int) -> Path:
        root = tmp_path / name
        tape_ = Tape(root, "binance_spot", "spot")
        tape_.turn(start, [mark_line(start, "tape", "tape", {"run": name, "begun": start})])
        lines = [mark_line(start + 1, "spot-7", "open", {"group": "spot", "names": ["btcusdt@trade"]})]
        lines += [frame_line(start + n * 10**9, "spot-7", trades[n - 1]) for n in have]
        lines.append(mark_line(start + closed * 10**9, "spot-7", "close", {"why": "cut", "code": 0}))
        tape_.append(b"".join(lines), len(lines))
        tape_.seal(start + 20 * 10**9)
        return root

    (done,) = merge_roots([side("a", range(1, 5), 5), side("b", range(4, 9), 9)], tmp_path / "c")
    assert (done.both, done.only, done.gaps_left) == (1, [3, 4], 0)
    lines = [parse(raw) for segment in segments(tmp_path / "c") for raw in read_lines(segment.file)]
    assert [(line.mark, line.s) for line in lines if line.mark in ("open", "close", "gap")] == [("open", "spot-1"), ("close", "spot-1")]
    assert [row.complete for row in coverage.of_root(tmp_path / "c")] == [True]
    assert Fault("drop").kind == "drop"
