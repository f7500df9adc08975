"""Backfill: search, plan, ask, insert, and search again, until nothing that can be had is missing.

Every answer is on the tape before its rows are made. Rows that were not missing are not written again. What is still missing where the
venue answered is unfillable; where it did not answer it has failed, and is tried another time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tape_archive.format.errors import VenueProtocolError
from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.tables import Cursor, Tables
from tape_collectors.backfill import archive
from tape_collectors.backfill.client import Answered, Client, NoAnswer
from tape_collectors.backfill.holes import Hole, rows_of, settled
from tape_collectors.backfill.memory import TABLE, Entry, Memory
from tape_collectors.backfill.plan import Piece, plan
from tape_collectors.backfill.scan import Known, Scan, lives
from tape_collectors.backfill.spans import Spans
from tape_collectors.venues.binance import history
from tape_collectors.venues.binance.history import Columns
from tape_collectors.venues.binance.wire import MS
from tape_collectors.venues.protocol import Fetch

#: the name under which rows are inserted
WRITER = "backfill"
#: rows are inserted at the latest when there are so many
_ROWS = 50_000
#: pieces of work that wait for their answers at once
_AT_ONCE = 12
_ROUNDS = 6
#: beyond every number
_OPEN = 2**63
#: an answer with so many rows may be cut there
_FULL = {"/fapi/v1/klines": 0, "/fapi/v1/aggTrades": history.AGG_TRADES, "/fapi/v1/fundingRate": history.FUNDINGS}

#: told of (pieces done, pieces in all, rows that came)
Show = Callable[[int, int, int], None]


def silent(done: int, of: int, rows: int) -> None:
    """Nobody looks."""


class Total(msgspec.Struct):
    """Of one table: gaps that were open, rows that were missing, and what became of them."""

    gaps: int = 0
    missing: int = 0
    filled: int = 0
    unfillable: int = 0
    failed: int = 0


class Left(msgspec.Struct):
    """What is not there. ``rows``: how many, 0 where nobody knows. ``start`` to ``end``: unix ns."""

    table: str
    symbol: str
    interval: str
    start: int
    end: int
    rows: int
    status: str
    why: str

    @classmethod
    def of(cls, hole: Hole, name: str, status: str, why: str) -> Left:
        """A hole in the names of the tables."""
        end = hole.to_ns if hole.table == "trades" else hole.to_ns + hole.step
        return cls(hole.table, name, hole.interval, hole.from_ns, end, rows_of(hole), status, why)


class Outcome(msgspec.Struct):
    """What a run did, and what is not there after it."""

    tables: dict[str, Total]
    left: list[Left]
    requests: int = 0
    weight: int = 0
    files: int = 0
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether nothing is missing any more."""
        return not self.left


class Batches:
    """Rows on their way into the store, by table. ``put`` gives True when it is time to ``flush``."""

    def __init__(self, store: Tables) -> None:
        self.store = store
        self._waiting: dict[str, dict[str, list[Any]]] = {}
        self._rows = 0
        self._turn = asyncio.Lock()
        self._cursors: dict[str, Cursor] | None = None

    def put(self, table: str, columns: Mapping[str, Sequence[Any]]) -> bool:
        """Some rows, whole."""
        waiting = self._waiting.setdefault(table, {name: [] for name in columns})
        for name, values in columns.items():
            waiting[name] += values
        self._rows += len(columns["receipt_timestamp"])
        return self._rows >= _ROWS

    async def flush(self) -> None:
        """Insert what waits; it lasts when this returns."""
        async with self._turn:
            waiting, self._waiting, self._rows = self._waiting, {}, 0
            for table, columns in waiting.items():
                await asyncio.to_thread(self._insert, table, columns)

    def _insert(self, table: str, columns: dict[str, list[Any]]) -> None:
        if self._cursors is None:
            self._cursors = dict(self.store.cursors(WRITER))
        before = self._cursors.get(table)
        cursor = Cursor(WRITER, before.batch + 1 if before else 1)
        self.store.insert(table, columns, cursor)
        self._cursors[table] = cursor


class Run:
    """One backfill. ``known``: the instruments by the tables' names; ``now``: unix ns, by which candles are closed and gaps are old."""

    def __init__(self, scan: Scan, client: Client, memory: Memory, known: Mapping[str, Known], now: int, show: Show = silent) -> None:
        self.scan = scan
        self.client = client
        self.memory = memory
        self.known = known
        self.names = {one.native: name for name, one in known.items()}
        self.now = now
        self.batches = Batches(scan.store)
        self.absent: dict[str, str] = {}
        self.weight = self.files = 0
        self._show = show
        self._answered: dict[tuple[str, str, str], Spans] = {}
        self._ids: dict[str, Spans] = {}
        #: what was answered for which time
        self._whys: dict[tuple[str, str, str], list[tuple[int, int, str]]] = {}
        self._failed: dict[tuple[str, str, str], str] = {}
        self._filled: dict[tuple[str, str, str], list[int]] = {}
        self._done = self._all = self._rows = 0

    async def fill(self) -> Outcome:
        """Do all of it."""
        begun = time.monotonic()
        missing = await asyncio.to_thread(self.scan.holes, self.known)
        # What cannot be asked for yet is not judged: logged as "failed" it would have to wait for its turn again. Trades are told of.
        ask, left = self.memory.open(self._old(missing))
        left += [(hole, "new") for hole in missing if hole.table == "trades" and rows_of(hole) and not settled(hole, self.now)]
        entries = list(zip(ask, self.memory.found(ask), strict=True))
        await self._log(entry for _, entry in entries)
        open_holes = found = ask
        for _ in range(_ROUNDS):
            made = plan(open_holes, self.now, lives(self.known), self.absent)
            for refused in made.refused:
                if refused.later:
                    self._failed[_key(refused.hole)] = refused.why
                else:
                    self._answer(refused.hole, refused.why)
            if not made.pieces:
                break
            await self._execute(made.pieces)
            touched = {(hole.table, self.names[hole.symbol]) for hole in ask}
            found, _ = self.memory.open(self._old(await asyncio.to_thread(self.scan.holes, self.known, touched)))
            # The rows of funding that came tell how often it is settled: more may be missing than was seen at first.
            wider = [hole for hole in found if hole.table == "funding"]
            open_holes = [hole for hole in dict.fromkeys((*_within(found, ask), *wider)) if not self._settled(hole)]
            if not open_holes:
                break
        outcome = await self._end(entries, _within(found, ask), left)
        outcome.seconds = time.monotonic() - begun
        return outcome

    def _old(self, holes: Iterable[Hole]) -> list[Hole]:
        return [old for hole in holes if (old := settled(hole, self.now)) is not None]

    # -- asking ----------------------------------------------------------------------------------------------------------

    async def _execute(self, pieces: Iterable[Piece]) -> None:
        """A few at a time, in their order, each host in turns of its own; then insert what came."""
        hosts: dict[str, list[Piece]] = {}
        for piece in pieces:
            hosts.setdefault(piece.fetch.host if piece.fetch else "archive", []).append(piece)
        self._done, self._all = 0, sum(map(len, hosts.values()))
        async with asyncio.TaskGroup() as group:
            for some in hosts.values():
                turn = iter(some)
                for _ in range(min(_AT_ONCE if some[0].fetch else 2, len(some))):
                    group.create_task(self._work(turn))
        await self._flush()

    async def _flush(self) -> None:
        """Rows are in the store only when what they are made of is on the disk."""
        await asyncio.to_thread(self.client.sync)
        await self.batches.flush()

    async def _work(self, turn: Any) -> None:
        for piece in turn:
            try:
                await (self._file(piece) if piece.path else self._requests(piece))
            except (NoAnswer, VenueProtocolError) as error:
                for hole in piece.holes:
                    self._failed[_key(hole)] = str(error)[:200]
            self._done += 1
            self._show(self._done, self._all, self._rows)

    async def _requests(self, piece: Piece) -> None:
        fetch: Fetch | None = piece.fetch
        while fetch is not None:
            self.weight += fetch.weight if fetch.host == "rest" else 0
            try:
                t, data = await self.client.get(fetch)
            except Answered as error:
                for hole in piece.holes:
                    self._answer(hole, f"the venue refuses: {history.refusal(error.body)}"[:200])
                return
            rows = history.answer(t, fetch.request, data)
            await self._take(piece.holes, rows, t)
            fetch = self._next(piece, fetch, rows)

    def _next(self, piece: Piece, fetch: Fetch, rows: Columns) -> Fetch | None:
        """What is to be asked after this answer; what was answered is settled."""
        path, query = history.parts(fetch.request)
        times = rows["timestamp"]
        if path != "/fapi/v1/aggTrades":
            full = len(times) == _FULL.get(path, history.INTERESTS) and times
            for hole in piece.holes:
                self._answer(hole, "the venue has no such row", until=times[-1] if full else None)
            return None
        hole = piece.holes[-1]
        ids = rows["trade_id"]
        if "fromId" in query:
            more = len(ids) == history.AGG_TRADES
            self._ids.setdefault(hole.symbol, Spans()).add(int(query["fromId"]), ids[-1] if more else 2**62)
        elif not ids:
            after = int(query["endTime"]) + 1
            if after * MS <= hole.to_ns:
                return history.agg_trades_at(hole.symbol, after, min(hole.to_ns // MS, after + history.AGG_RANGE))
        else:
            more = True
        if ids and more and times[-1] <= hole.to_ns and (not hole.last or ids[-1] < hole.last):
            return history.agg_trades(hole.symbol, ids[-1] + 1)
        for one in piece.holes:
            self._answer(one, "the venue skips these ids")
        return None

    async def _file(self, piece: Piece) -> None:
        before = self.client.requests
        try:
            rows = await archive.read(self.client, piece.path)
        except archive.Absent as error:
            self.absent[piece.path] = str(error)
            return
        finally:
            self.files += self.client.requests > before
        await self._take(piece.holes, rows, time.time_ns())
        for hole in piece.holes:
            self._answer(hole, "the venue's archive has no such row")

    # -- rows ------------------------------------------------------------------------------------------------------------

    async def _take(self, holes: Sequence[Hole], rows: Columns, t: int) -> None:
        """Put in the rows that are missing, and no others."""
        one = holes[0]
        numbers = rows["trade_id"] if one.table == "trades" else rows["timestamp"]
        at = [place for place, (number, ns) in enumerate(zip(numbers, rows["timestamp"], strict=True)) if _wanted(holes, number, ns)]
        if not at:
            return
        columns = {name: [values[place] for place in at] for name, values in rows.items()}
        count = len(at)
        more: Columns = {"symbol": [self.names[one.symbol]] * count, "exchange": [EXCHANGE] * count, "receipt_timestamp": [t] * count}
        self._filled.setdefault(_key(one), []).extend(numbers[place] for place in at)
        self._rows += count
        if self.batches.put(one.table, columns | more):
            await self._flush()

    def _answer(self, hole: Hole, why: str, until: int | None = None) -> None:
        key = _key(hole)
        last = hole.to_ns if until is None else min(until, hole.to_ns)
        self._answered.setdefault(key, Spans()).add(hole.from_ns, last)
        self._whys.setdefault(key, []).append((hole.from_ns, last, why))

    def _settled(self, hole: Hole) -> bool:
        """Whether the venue answered for all of it."""
        spans = self._answered.get(_key(hole))
        if spans is not None and spans.cover(hole.from_ns, hole.to_ns):
            return True
        ids = self._ids.get(hole.symbol) if hole.table == "trades" else None
        return ids is not None and bool(hole.first and hole.last) and ids.cover(hole.first, hole.last)

    # -- the end ---------------------------------------------------------------------------------------------------------

    async def _end(self, entries: list[tuple[Hole, Entry]], still: list[Hole], left: list[tuple[Hole, str]]) -> Outcome:
        """What became of each gap: rows that are still missing are gaps of their own, so that they are known the next time."""
        done = time.time_ns()
        totals: dict[str, Total] = {}
        for hole, status in left:
            self._add(totals, hole, status)
        rest: list[tuple[Hole, Entry]] = []
        keyed: dict[tuple[str, str, str], list[Hole]] = {}
        for one in still:
            keyed.setdefault(_key(one), []).append(one)
        for hole, entry in entries:
            lacking = [one for one in keyed.get(_key(hole), ()) if _touch(one, hole)]
            missing = sum(map(rows_of, lacking))
            filled = rows_of(hole) - missing if rows_of(hole) else self._counted(hole)
            total = totals.setdefault(hole.table, Total())
            total.gaps += 1
            total.missing += rows_of(hole) or filled
            total.filled += filled
            whole = len(lacking) == 1 and lacking[0] == hole
            if not whole:
                self.memory.end(entry, "completed", filled, done)
            for one in lacking:
                if not rows_of(one) and self._settled(one):
                    # The end of the trades is never known to be one: it was asked for, and that is all.
                    self.memory.end(entry, "completed", filled, done)
                    continue
                mine = entry if whole else self.memory.found([one])[0]
                self._judge(one, mine, done)
                rest.append((one, mine))
                total.unfillable += rows_of(one) if mine.status == "unfillable" else 0
                total.failed += rows_of(one) if mine.status == "failed" else 0
        await self._log([*(entry for _, entry in entries), *(entry for _, entry in rest)])
        told = [self._told(hole, entry.status, entry.why or "") for hole, entry in rest]
        whys = {"new": "too new to be asked for; the next run does"}
        told += [self._told(hole, status, whys.get(status) or self.memory.why(hole)) for hole, status in left if status != "asked"]
        told.sort(key=lambda one: (one.table, one.symbol, one.start))
        return Outcome(totals, told, self.client.requests, self.weight, self.files)

    def _judge(self, hole: Hole, entry: Entry, done: int) -> None:
        if self._settled(hole):
            said = [why for first, last, why in self._whys.get(_key(hole), ()) if first <= hole.to_ns and hole.from_ns <= last]
            self.memory.end(entry, "unfillable", 0, done, "; ".join(dict.fromkeys(said)))
        else:
            self.memory.end(entry, "failed", 0, done, self._failed.get(_key(hole), "not answered"))

    def _counted(self, hole: Hole) -> int:
        """Trades that came for a hole of which nobody knew how many there are."""
        ids = set(self._filled.get(_key(hole), ()))
        return sum((not hole.first or number >= hole.first) and (not hole.last or number <= hole.last) for number in ids)

    def _add(self, totals: dict[str, Total], hole: Hole, status: str) -> None:
        if status == "asked":
            return
        total = totals.setdefault(hole.table, Total())
        total.gaps += 1
        total.missing += rows_of(hole)
        if status == "unfillable":
            total.unfillable += rows_of(hole)
        else:
            total.failed += rows_of(hole)

    def _told(self, hole: Hole, status: str, why: str) -> Left:
        return Left.of(hole, self.names.get(hole.symbol, hole.symbol), status, why)

    async def _log(self, entries: Iterable[Entry]) -> None:
        rows = list({entry.log_id: entry for entry in entries}.values())
        if rows:
            self.batches.put(TABLE, self.memory.columns(rows, time.time_ns()))
            await self.batches.flush()


def _key(hole: Hole) -> tuple[str, str, str]:
    return hole.table, hole.symbol, hole.interval


def _wanted(holes: Sequence[Hole], number: int, ns: int) -> bool:
    """Whether a row is one of those that are missing; where ids are not known, by its time."""
    for hole in holes:
        after = number >= hole.first if hole.first else ns >= hole.from_ns
        if after and (number <= hole.last if hole.last else ns <= hole.to_ns):
            return True
    return False


def _touch(one: Hole, other: Hole) -> bool:
    """Whether two holes of one key may have rows in common: by their numbers, and by the time where not all are known."""
    if one.first > (other.last or _OPEN) or other.first > (one.last or _OPEN):
        return False
    known = rows_of(one) and rows_of(other)
    return bool(known) or (one.from_ns <= other.to_ns and other.from_ns <= one.to_ns)


def _within(found: Iterable[Hole], ask: Iterable[Hole]) -> list[Hole]:
    """The holes that are, or are parts of, what was to be filled: others came meanwhile, and are the next run's."""
    keyed: dict[tuple[str, str, str], list[Hole]] = {}
    for hole in ask:
        keyed.setdefault(_key(hole), []).append(hole)
    return [one for one in found if any(_touch(one, hole) for hole in keyed.get(_key(one), ()))]
