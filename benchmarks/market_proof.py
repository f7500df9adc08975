"""What the tables of a run of ``benchmarks.market`` have, beside what the simulator sent.

Without trouble all of it, by count and hash. With trouble: first the tables are compared with what is on the tapes, read as plain JSON, and
must hold exactly that. Then ``backfill`` runs, and of trades and minute candles the tables must hold all that there were, also what nobody
was sent. Of the rest nobody brings back what was sent while no connection carried it: each such event, by the simulator's ids, must lie in a
``gap`` mark of its stream. What lies in none is lost. The trades and candles of a symbol that was delisted before anybody heard them only the
public archive tells, the day after: backfill must say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from tape_archive.tables.tables import open_tables
from tests.support.ledger import told
from tests.support.recording import lines
from tests.support.stored import Comparison, Difference, compare

VENUE = "binance_usdm"
#: what backfill is asked for
TABLES = {"aggTrade": "trades", "kline_1m": "candles_1m"}
#: backfill does not miss trades of the last two minutes: its "now" is moved on by as much
QUIET_MS = 180_000
#: so many symbols are looked for in lines that are not decoded yet
_FEW = 20
MS = 1_000_000
Line = dict[str, Any]


def ask(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=60) as answer:
        return json.loads(answer.read())


def finish(root: Path, store: str) -> None:
    """What a writer had no time for, once no other one is at it."""
    words = [sys.executable, "-m", "tape_archive", "fill", "--root", str(root), "--log-level", "warning"]
    begun = time.monotonic()
    while (done := subprocess.run(words, env=os.environ | {"TAPE_STORE": store}, capture_output=True, check=False)).returncode == 11:
        time.sleep(1)
    print(f"tape fill: exit {done.returncode}, {time.monotonic() - begun:.0f} s")


def result(store: str, sent: Sequence[Line]) -> Comparison:
    """What the tables have, beside what was sent."""
    tables = open_tables(store)
    found = compare(tables, sent)
    tables.close()
    for table, rows in found.rows.items():
        print(f"  {table:14} {rows:>11,} rows as they were sent")
    missing: dict[str, int] = {}
    for one in found.different:
        missing[one.stream] = missing.get(one.stream, 0) + one.sent - one.stored
    print(f"{len(found.different)} streams of a symbol differ: {missing or 'none'}")
    for one in found.different[:5]:
        print(f"  {one.stream} of {one.symbol}: {one.sent} sent, {one.stored} stored")
    return found


def proof(root: Path, store: str, rest: str, ledger: Line, endpoints: list[str]) -> None:
    """After a run with trouble."""
    print("of what is on the tapes:")
    result(store, on_tapes(root, ledger))
    left = fill(root, store, endpoints)
    wanted = [made(line) for line in ledger["rows"]]
    if late := tails(store, wanted):
        print(f"{len(late)} symbols had their last trades while nobody recorded; with a now that is {QUIET_MS // 1000} s later:")
        until = ["--until", str(time.time_ns() // MS + QUIET_MS), "--symbols", ",".join(late), "--tables", "trades"]
        left += fill(root, store, endpoints, *until)
    print("of what was sent, and of trades and minutes of all that there were:")
    judge(root, store, rest, wanted, result(store, wanted).different, left)


def made(line: Line) -> Line:
    """Of what ``backfill`` brings: what was sent and what nobody heard, together."""
    unsent = line.get("unsent")
    if not unsent or line["stream"] not in TABLES:
        return line
    if not line["count"]:
        return {**line, **unsent}
    total = (int(line["hash"], 16) + int(unsent["hash"], 16)) % 2**64
    first, last = min(line["first"], unsent["first"]), max(line["last"], unsent["last"])
    return {**line, "count": line["count"] + unsent["count"], "first": first, "last": last, "hash": f"{total:016x}"}


def fill(root: Path, store: str, endpoints: list[str], *more: str) -> list[Line]:
    """Bring what the venue still gives; gives what it says is not there."""
    words = [sys.executable, "-m", "tape_collectors.cli.backfill", "--root", str(root), "--run", "--json", "--lookback", "1h"]
    archive = ["--endpoint", f"{VENUE}.archive={endpoints[1].partition('=')[2]}"]
    tables = [] if more else ["--tables", ",".join(TABLES.values())]
    command = [*words, *endpoints, *archive, *tables, *more]
    done = subprocess.run(command, env=os.environ | {"TAPE_STORE": store}, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        print(f"backfill: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return []
    report = json.loads(done.stdout)
    rows = {table: (total["filled"], total["unfillable"], total["failed"]) for table, total in report["tables"].items()}
    print(f"backfill: exit {done.returncode}, {report['requests']} requests, {report['seconds']:.0f} s; filled, unfillable, failed: {rows}")
    left: list[Line] = report["left"]
    return left


def tails(store: str, wanted: Sequence[Line]) -> list[str]:
    """Symbols that lack their last trades, as the venue names them."""
    tables = open_tables(store)
    native = {row["symbol"]: row["native"] for row in tables.read("instruments", columns=("symbol", "native")).to_pylist()}
    last = tables.read("trades", columns=("symbol", "trade_id")).group_by("symbol").aggregate([("trade_id", "max")]).to_pylist()
    tables.close()
    newest = {native[row["symbol"]]: row["trade_id_max"] for row in last}
    return [line["symbol"] for line in wanted if line["stream"] == "aggTrade" and newest.get(line["symbol"], line["last"]) < line["last"]]


def judge(root: Path, store: str, rest: str, wanted: Sequence[Line], different: Sequence[Difference], left: Sequence[Line]) -> None:
    """Of what the tables lack: for how much a gap stands on the tape, for how much backfill waits, and how much is lost."""
    counts: dict[str, list[int]] = {}
    ends = {(line["stream"], line["symbol"]): (line["first"], line["last"]) for line in wanted}
    rest_of = [one for one in different if one.stream not in TABLES]
    seen, gaps = on_tape(root, rest_of)
    for one in different:
        if one.stream in TABLES:
            some = awaited(store, one, *ends[one.stream, one.symbol], left)
        else:
            ids = ask(f"{rest}/control/ledger?ids=1&stream={one.stream}&symbol={urllib.request.quote(one.symbol)}")  # type: ignore[attr-defined]
            there = seen.get((one.stream, one.symbol), {})
            lacking = [id for id in ids if id not in there]
            order = sorted(there)
            inside = sum(within(id, order, there, gaps.get((one.stream, one.symbol), [])) for id in lacking)
            some = inside, 0, len(lacking) - inside
        for place, count in enumerate(some):
            counts.setdefault(one.stream, [0, 0, 0])[place] += count
    for stream, (inside, waiting, lost) in counts.items():
        print(f"  {stream:14} {inside:>7,} sent while no connection carried it, as a gap says; {waiting:>5,} waited for; {lost:>5,} LOST")
    print(f"lost: {sum(lost for _, _, lost in counts.values())}")


def within(id: int, order: Sequence[int], there: dict[int, int], gaps: Sequence[tuple[int, int]]) -> bool:
    """Whether an event lies between two of the tape between which a gap stands."""
    at = bisect_left(order, id)
    before, after = there[order[at - 1]] if at else 0, there[order[at]] if at < len(order) else 2**63
    return any(before <= since and until <= after for since, until in gaps)


def awaited(store: str, one: Difference, first: int, last: int, left: Sequence[Line]) -> tuple[int, int, int]:
    """Of trades or minutes that are not there: of how many backfill says that the archive is not published yet."""
    tables = open_tables(store)
    name = next(
        row["symbol"] for row in tables.read("instruments", columns=("symbol", "native")).to_pylist() if row["native"] == one.symbol
    )
    rows = tables.read(TABLES[one.stream], name)
    tables.close()
    mine = [row for row in left if (row["table"], row["symbol"], row["status"]) == (TABLES[one.stream], name, "failed")]
    if one.stream == "kline_1m":
        have = {time // 1000 for time in pc.cast(rows["timestamp"], "int64").to_pylist()}
        lacking = [ms for ms in range(first, last + 1, 60_000) if ms not in have]
        waiting = sum(any(row["start"] <= ms * MS < row["end"] for row in mine) for ms in lacking)
    else:
        ids = set(rows["trade_id"].to_pylist())
        lacking = [id for id in range(first, last + 1) if id not in ids]
        # Before the first row, behind the last one, and where there is none, nobody knows how many there are.
        begun, ended = min(ids, default=last + 1), max(ids, default=last + 1)
        open_ = sum(not begun <= id <= ended for id in lacking) if any(not row["rows"] for row in mine) else 0
        waiting = open_ + min(len(lacking) - open_, sum(row["rows"] for row in mine))
    return 0, waiting, len(lacking) - waiting


# -- the tapes -----------------------------------------------------------------------------------------------------------------------


def on_tapes(root: Path, ledger: Line) -> list[Line]:
    """A ledger of what the tapes hold of the same time, each id once, by the ledger's documentation and from the JSON alone."""
    sums: dict[tuple[str, str], list[int]] = {}
    for _, name, event in events(root):
        if not ledger["since_ms"] <= event.get("E", event.get("time", 0)) < ledger["until_ms"]:
            continue
        channel, symbol, id, text = told(name, event)
        one = sums.setdefault((channel, symbol), [0, id, id, 0])
        one[0], one[1], one[2] = one[0] + 1, min(one[1], id), max(one[2], id)
        one[3] += xxh3_64_intdigest(text.encode())
    return [
        {"stream": channel, "symbol": symbol, "count": count, "first": first, "last": last, "hash": f"{total % 2**64:016x}"}
        for (channel, symbol), (count, first, last, total) in sums.items()
    ]


def events(root: Path, *parts: bytes) -> Iterator[tuple[int, str, Line]]:
    """(time, stream, payload) of the frames and polls on the tapes, of those that several connections brought the first. ``parts``: only
    what has one of these in it."""
    seen: set[int] = set()
    for line in lines(root, VENUE):
        if line.data is None or line.status != 200 or (parts and not any(part in line.data for part in parts)):
            continue
        if line.request is not None and "/openInterest" not in line.request:
            continue
        # Copies are equal to the byte, and half of what is there.
        known = xxh3_64_intdigest(line.data)
        if known in seen:
            continue
        seen.add(known)
        frame = msgspec.json.decode(line.data)
        if line.request is not None:
            yield line.t, "@openInterest", frame
        elif "data" in frame:
            yield line.t, frame["stream"], frame["data"]


def on_tape(
    root: Path, some: Sequence[Difference]
) -> tuple[dict[tuple[str, str], dict[int, int]], dict[tuple[str, str], list[tuple[int, int]]]]:
    """Of these streams: id -> when it came, and the gaps between connections (from, until), by stream and symbol."""
    ids: dict[tuple[str, str], dict[int, int]] = {(one.stream, one.symbol): {} for one in some}
    gaps: dict[tuple[str, str], list[tuple[int, int]]] = {}
    if not some:
        return ids, gaps
    channels = {one.stream for one in some}
    symbols = {f'"{one.symbol}"'.encode() for one in some}
    # To look for many in each line takes longer than to decode it.
    for t, name, event in events(root, *symbols if len(symbols) <= _FEW else ()):
        if name.partition("@")[2] in channels:
            channel, symbol, id, _ = told(name, event)
            if (channel, symbol) in ids:
                ids[channel, symbol].setdefault(id, t)
    for line in lines(root, VENUE):
        if line.mark == "gap" and "until_ns" in line.fields:
            key = str(line.fields["channel"]), str(line.fields["symbol"])
            gaps.setdefault(key, []).append((int(line.fields["from_ns"]), int(line.fields["until_ns"])))
    return ids, gaps
