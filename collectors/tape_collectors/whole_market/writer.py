"""Tables made from the tapes of ``market-record``, while they are recorded or afterwards.

The tape is the write-ahead log: this process follows it, and each batch goes into the store together with how far it brings its table on
the tape (its cursor). Whatever happens (a kill, a database that is down for an hour), the next batch of a table begins behind the last one
that is there: no row is lost, none is there twice. What a row depends on beside its line (which connection brought what, candles in the
making) is saved from time to time, when all rows before it are in the store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tape_archive.format.atomic import write_atomic
from tape_archive.format.errors import Corrupt, SettingsError, TapeError
from tape_archive.format.following import TapeFollower
from tape_archive.format.layout import element
from tape_archive.format.lines import Line, parse
from tape_archive.format.read import Position
from tape_archive.tables.tables import Tables
from tape_collectors.market.replay import Replay
from tape_collectors.market.rows import Row, Rows
from tape_collectors.market.shards import parse as parse_shard
from tape_collectors.runtime.backoff import delays
from tape_collectors.sinks.tables import TableSink
from tape_collectors.venues import load
from tape_collectors.venues.binance.market import POLL, TYPES

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
#: rows of a tape that wait are never more: a store that was away for hours gets what waited in parts
MOST = 100_000
#: a writer that is so far behind its tape (ns) makes larger batches, the further the larger; and never of more tape time than that (s)
_BEHIND = 5 * SECOND
_LONGEST_S = 60
#: where a row has its ``receipt_timestamp``
_RECEIPT = 1
#: how long rows took from the tape into the store, in s: the bounds of what is counted
SLOW_S = 3.0
DELAYS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0, 600.0)
#: a store that is back is found at the latest after so long
_BACK_S = 10.0
#: without news on any tape, look again after so long
IDLE_S = 0.2


class Saved(msgspec.Struct):
    """State of one tape at time ``t``: all rows before are in the store, which has these ``cursors``. ``ended``: its line is a seal. The
    archiver leaves the segments in ``tapes`` alone (see ``format.cursor``)."""

    t: int = 0
    run: str = ""
    ended: bool = False
    tapes: dict[str, Position] = {}
    cursors: dict[str, int] = {}
    rows: dict[str, Any] | None = None
    format: int = 1


class TapeTables:
    """The tables that one tape makes."""

    def __init__(self, root: Path, venue: str, stream: str, rows: Rows, sink: TableSink) -> None:
        self.stream = stream
        self.rows = rows
        self.path = root / "state" / f"tables-{element(venue)}-{element(stream)}.cursor"
        self.ended = False
        #: runs whose beginning was read
        self.runs = 0
        self.inserted = 0
        #: rows by how long they took: within each of DELAYS, and longer
        self.delays = [0] * (len(DELAYS) + 1)
        self._sink = sink
        self._feed = load(venue).whole
        self._replay = Replay(self._feed)
        self._run = ""
        self._since: dict[str, int] = {}
        saved = self._load()
        #: how far this process, or the one before, brought each table
        self._inserted: dict[str, int] = dict(saved.cursors)
        #: what the store has: lines up to there make no rows again
        self.cursors = {table: sink.cursor(table) for table in self.rows.pending}
        if saved.rows is not None and all(self.cursors.get(table, 0) >= t for table, t in saved.cursors.items()):
            # All rows up to there are in the store, also of tables that had none for long.
            self.cursors = {table: max(t, saved.t) for table, t in self.cursors.items()}
            self.rows.restore(saved.rows)
            self._run, self.ended = saved.run, saved.ended
            self._follower = TapeFollower(root, venue, stream, saved.t, saved.tapes)
        else:
            if saved.rows is not None:
                log.warning("this store has less than the last one: the tape is read from its beginning", extra={"tape": stream})
            self._follower = TapeFollower(root, venue, stream)
        self._saved_t = self._follower.t

    @property
    def t(self) -> int:
        """Tape time so far."""
        return self._follower.t

    @property
    def waiting(self) -> int:
        """Rows that are not in the store yet."""
        return sum(len(rows) for rows in self.rows.pending.values())

    def told(self) -> dict[str, Any]:
        """For the status file. ``delays``: (at most so many s, rows that took so long from the tape into the store), the rest last."""
        slow = sum(self.delays[DELAYS.index(SLOW_S) + 1 :])
        delays = [*zip(DELAYS, self.delays, strict=False), (None, self.delays[-1])]
        return {"t": self.t, "rows": self.inserted, "waiting": self.waiting, "slow": slow, "delays": delays}

    def step(self) -> bool:
        """Read what is new, and insert what is due. Gives whether there was anything. Raises StoreError; nothing is lost then."""
        self._flush(self.t)
        lines = self._follower.poll()
        behind = max(self.cursors.values(), default=0)
        for raw in lines:
            line = parse(raw)
            if line.data is not None and line.request is None and line.t > behind:
                # The usual case of ``_line``, without five calls: this runs for every frame.
                for record in self._replay.frame(line.t, line.s, line.data)[0]:
                    self.rows.record(line.s, record)
            else:
                self._line(line, behind)
        if lines:
            self._flush(self.t)
            if self.t - self._saved_t >= self._sink.save_s * SECOND:
                self.save()
        return bool(lines)

    def save(self) -> None:
        """Insert everything, and save where the tape stands."""
        self._flush(self.t, everything=True)
        saved = Saved(self.t, self._run, self.ended, self._follower.place(), self._inserted, self.rows.state())
        write_atomic(self.path, msgspec.json.encode(saved), durable=False)
        self._saved_t = self.t

    def _line(self, line: Line, behind: int) -> None:
        self.ended = line.mark == "seal"
        if line.mark == "tape":
            self._head(line)
        elif line.mark == "listing":
            self._take(line.t, behind, lambda: self.rows.listing(line.t, line.fields))
        elif line.mark == "listings":
            self._take(line.t, behind, lambda: self.rows.looked(line.t))
        else:
            if line.mark == "close":
                self.rows.closed(line.s)
            self._take(line.t, behind, lambda: self._records(line))

    def _records(self, line: Line) -> None:
        for s, record in self._replay.line(line):
            self.rows.record(s, record)

    def _take(self, t: int, behind: int, job: Callable[[], None]) -> None:
        """Do a line's job; the rows of tables that have them already are dropped."""
        pending = self.rows.pending
        before = {table: len(rows) for table, rows in pending.items()} if t <= behind else None
        job()
        if before is not None:
            for table, count in before.items():
                if t <= self.cursors[table]:
                    del pending[table][count:]

    def _head(self, line: Line) -> None:
        run = str(line.fields.get("run", ""))
        if run != self._run:
            if self._run:
                self.rows.closed(None)
            self._run, self._replay, self.runs = run, Replay(self._feed), self.runs + 1

    def _flush(self, t: int, everything: bool = False) -> None:
        # A batch costs a store much of the same, however few rows it has: who is behind catches up by making fewer.
        least = SECOND * min(_LONGEST_S, max(1, (time.time_ns() - t) // _BEHIND))
        everything = everything or self.waiting >= MOST
        for table, rows in self.rows.pending.items():
            if not rows:
                self._since.pop(table, None)
                continue
            since = self._since.setdefault(table, t)
            most, seconds = self._sink.limits(table)
            if everything or t - since >= max(least, int(seconds * SECOND)) or (len(rows) >= most and t - since >= least):
                self._insert(table, rows, t)

    def _insert(self, table: str, rows: list[Row], t: int) -> None:
        self._sink.insert(table, rows, t)
        self.inserted += len(rows)
        self._count(rows)
        self.cursors[table] = self._inserted[table] = max(self.cursors[table], t)
        self.rows.pending[table] = []
        self._since.pop(table, None)

    def _count(self, rows: list[Row]) -> None:
        took = (time.time_ns() - np.fromiter((row[_RECEIPT] for row in rows), np.int64, len(rows))) / SECOND
        for place, count in enumerate(np.bincount(np.searchsorted(DELAYS, took), minlength=len(self.delays)).tolist()):
            self.delays[place] += count

    def _load(self) -> Saved:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Saved)
        except FileNotFoundError:
            return Saved()
        except msgspec.DecodeError as error:
            raise Corrupt(f"{self.path}: {error}; remove it, and the tables are compared with the whole tape") from None


def open_tapes(
    root: Path, tables: Tables, venue: str, types: Sequence[str], custom: Sequence[str], shard: str, tapes: Sequence[str] = ()
) -> list[TapeTables]:
    """One for each tape of ``market-record``; ``tapes``: of these alone. Raises SettingsError, StoreError."""
    product = load(venue)
    streams = streams_of(venue, shard, tapes)
    by_tape: dict[str, list[str]] = {name: [] for name in streams_of(venue, shard)}
    for kind in types or TYPES:
        if kind not in TYPES:
            raise SettingsError(f"unknown type {kind!r} (known: {', '.join(TYPES)})")
        by_tape[POLL if TYPES[kind] == "openInterest" else product.root_of(TYPES[kind])].append(kind)
    by_tape[POLL].append("instruments")
    if custom:
        by_tape[product.root_of("kline_1m")].append("custom_candles")
    return [
        TapeTables(root, venue, stream, Rows(by_tape[name], custom), TableSink(tables, f"{venue}/{stream}"))
        for name, stream in streams.items()
    ]


def streams_of(venue: str, shard: str, tapes: Sequence[str] = ()) -> dict[str, str]:
    """The recorder's tapes (public, market, poll; or those of ``tapes``) and their names on the disk. Raises SettingsError."""
    part, number = parse_shard(shard)
    every = {name: name if number == 1 else f"{name}-{part + 1}" for name in (*load(venue).sockets, POLL)}
    for name in tapes:
        if name not in every:
            raise SettingsError(f"no tape {name!r} (known: {', '.join(every)})")
    return {name: stream for name, stream in every.items() if name in (tapes or every)}


class TableWriter:
    """All tapes of one recorder. ``stop`` ends it when everything that is on the tapes is in the store, or ``drain_s`` later."""

    def __init__(self, tapes: Sequence[TapeTables], drain_s: float = 30.0, status: Path | None = None) -> None:
        self.tapes = tapes
        self.drain_s = drain_s
        self.failures = 0
        self.why = ""
        self._stop_at = 0.0
        self._runs = [one.runs for one in tapes]
        self._status = status
        self._told = 0.0

    def stop(self) -> None:
        """End soon."""
        if not self._stop_at:
            self._runs = [one.runs for one in self.tapes]
            self._stop_at = time.monotonic() + self.drain_s

    def run(self, *, once: bool = False) -> bool:
        """Until stopped; ``once``: until the tapes have nothing new. Gives whether the tables have all that the tapes have."""
        waits = delays(cap_s=_BACK_S)
        while True:
            try:
                moved = [one.step() for one in self.tapes]
                self._tell()
                if self._stop_at and all(one.runs > runs or not one.t for one, runs in zip(self.tapes, self._runs, strict=True)):
                    # The recorder died, and the next one records already: its own writer waits for this one to go.
                    self._save()
                    return True
                if not any(moved):
                    if once or (self._stop_at and all(one.ended or not one.t for one in self.tapes)):
                        self._save()
                        return True
                    time.sleep(IDLE_S)
                waits = delays(cap_s=_BACK_S)
                self.why = ""
            except TapeError as error:
                if not error.retry:
                    raise
                self._failed(error, next(waits))
            if self._stop_at and time.monotonic() > self._stop_at:
                return False

    def close(self) -> None:
        """Tell how it ended."""
        self._tell(at_once=True)

    def _tell(self, *, at_once: bool = False) -> None:
        """The status file, once a second."""
        now = time.monotonic()
        if self._status is not None and (at_once or now - self._told >= 1.0):
            self._told = now
            tapes = {one.stream: one.told() for one in self.tapes}
            status = {"at": time.time_ns(), "tapes": tapes, "failures": self.failures, "why": self.why}
            write_atomic(self._status, msgspec.json.encode(status), durable=False)

    def _save(self) -> None:
        for one in self.tapes:
            one.save()

    def _failed(self, error: TapeError, seconds: float) -> None:
        self.failures += 1
        if self.why != str(error):
            self.why = str(error)
            self._tell(at_once=True)
            log.error("the tables wait; the tape goes on", extra={"why": self.why, "again_s": round(seconds, 1)})
        until = time.monotonic() + seconds
        while time.monotonic() < until and not (self._stop_at and time.monotonic() > self._stop_at):
            self._tell()
            time.sleep(min(0.1, seconds))
