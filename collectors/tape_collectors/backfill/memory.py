"""``gap_detection_log``: what was found missing, and what became of it; so that what the venue cannot give is not asked for again.

A row a gap: ``detected``, then ``filling``, then ``completed``, ``unfillable`` (with the reason) or ``failed`` (tried again after an hour,
then six, then a day). The row of a gap is found again by what it says, so a run that was killed leaves no row behind that nobody ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.search import nanoseconds
from tape_archive.tables.tables import Tables
from tape_collectors.backfill.holes import Hole, cut_to, rows_of
from tape_collectors.backfill.plan import CLASSES, DAY_NS, HOUR_NS, age_of
from tape_collectors.backfill.spans import Spans, outside

TABLE = "gap_detection_log"
#: what is added to the priority by why one looks
SCOPES = {"restart": 2, "network": 1, "manual": 0, "scheduled": 0}
#: a gap that failed so often is tried again after so long
_PATIENCE = (0, HOUR_NS, 6 * HOUR_NS, DAY_NS)
_US = 1000
#: trades of so little time are not asked for again
_QUIET_NS = HOUR_NS // 30
_BY_AGE = (10, 7, 3)
_BY_INTERVAL = {"1m": 10, "5m": 8, "30m": 5, "4h": 3, "1d": 1}
_NONE = 8


class Entry(msgspec.Struct):
    """What is known of one gap. Times in unix ns, cut to the microsecond as tables have them."""

    table: str
    symbol: str
    interval: str
    start: int
    end: int
    rows: int
    log_id: int
    detected: int
    status: str = "detected"
    filled: int = 0
    begun: int | None = None
    ended: int | None = None
    why: str | None = None
    retries: int = 0


class Memory:
    """The log as a run sees it, and writes it. ``names``: the venue's name -> that of the tables."""

    def __init__(self, store: Tables, now: int, scope: str) -> None:
        self.now = now
        self.scope = scope
        self.names: dict[str, str] = {}
        self._known: dict[tuple[str, str, str, int, int], Entry] = {}
        self._never: dict[tuple[str, str, str], Spans] = {}
        self._whys: dict[tuple[str, str, str], list[tuple[int, int, str]]] = {}
        #: trades of which nobody knows how many there are, by symbol: from when -> up to when they were asked for, and from when in vain
        self._asked: dict[str, dict[int, int]] = {}
        self._vain: set[tuple[str, int]] = set()
        columns = (
            *("symbol", "detection_time", "log_id", "data_type", "interval", "gap_start", "gap_end", "status", "records_expected"),
            *("records_filled", "fill_complete_time", "error_message", "retry_count"),
        )
        rows = store.read(TABLE, columns=columns)
        times = {
            name: nanoseconds(rows[name].fill_null(rows["detection_time"][0]) if name == "fill_complete_time" and len(rows) else rows[name])
            for name in ("detection_time", "gap_start", "gap_end", "fill_complete_time")
        }
        for at, row in enumerate(rows.drop_columns(list(times)).to_pylist()):
            self._add(row, {name: int(values[at]) for name, values in times.items()})

    def _add(self, row: Mapping[str, object], times: Mapping[str, int]) -> None:
        entry = Entry(
            str(row["data_type"]),
            str(row["symbol"]),
            str(row["interval"]),
            times["gap_start"],
            times["gap_end"],
            _int(row["records_expected"]),
            _int(row["log_id"]),
            times["detection_time"],
            str(row["status"]),
            _int(row["records_filled"]),
            ended=times["fill_complete_time"],
            why=None if row["error_message"] is None else str(row["error_message"]),
            retries=_int(row["retry_count"]),
        )
        self._known[entry.table, entry.symbol, entry.interval, entry.start, entry.end] = entry
        if entry.why:
            self._whys.setdefault((entry.table, entry.symbol, entry.interval), []).append((entry.start, entry.end, entry.why))
        if entry.status == "completed" and not entry.rows:
            asked = self._asked.setdefault(entry.symbol, {})
            asked[entry.start] = max(entry.end, asked.get(entry.start, 0))
        if entry.status == "failed" and not entry.rows:
            self._vain.add((entry.symbol, entry.start))
        if entry.status == "unfillable" and entry.table != "trades":
            self._never.setdefault((entry.table, entry.symbol, entry.interval), Spans()).add(entry.start, entry.end - 1)

    def open(self, holes: Iterable[Hole]) -> tuple[list[Hole], list[tuple[Hole, str]]]:
        """(what is to be asked for now, what not and why): not what the venue never had, and not what failed a moment ago."""
        ask: list[Hole] = []
        leave: list[tuple[Hole, str]] = []
        for hole in holes:
            name = self.names.get(hole.symbol, hole.symbol)
            never = self._never.get((hole.table, name, hole.interval))
            parts = [hole] if never is None else [cut_to(hole, *part) for part in outside(hole.first, hole.last, hole.step, never)]
            if never is not None and sum(map(rows_of, parts)) < rows_of(hole):
                leave.append((hole, "unfillable"))
            for part in parts:
                why = self._left(part)
                leave.append((part, why)) if why else ask.append(part)
        return ask, leave

    def _left(self, hole: Hole) -> str:
        key = self._key(hole)
        if not rows_of(hole) and self._was_asked(hole, key[1], key[3], key[4]):
            return "asked"
        entry = self._known.get(key)
        if entry is None or entry.status == "unfillable":
            return entry.status if entry else ""
        due = (entry.ended or entry.detected) + _PATIENCE[min(entry.retries, len(_PATIENCE) - 1)]
        return "failed" if entry.status == "failed" and self.scope != "manual" and due > self.now else ""

    def _was_asked(self, hole: Hole, symbol: str, start: int, end: int) -> bool:
        asked = self._asked.get(symbol, {})
        # What comes before the first row nobody sees by its id, so that is asked for to the end.
        until = end if hole.last else end - _QUIET_NS
        if asked.get(start, 0) >= until:
            return True
        # An answer told of all trades up to its end, so also of those behind the last one that came by it; unless it broke off there.
        return (symbol, start) not in self._vain and any(first <= start and last >= until for first, last in asked.items())

    def why(self, hole: Hole) -> str:
        """What was said of a gap, or of one that it has a part of."""
        mine = self._key(hole)
        said = self._whys.get(mine[:3], ())
        return next((why for start, end, why in said if start < mine[4] and mine[3] < end), "")

    def found(self, holes: Iterable[Hole]) -> list[Entry]:
        """The entries of these holes, being filled from now on."""
        entries = []
        for hole in holes:
            key = self._key(hole)
            entry = self._known.get(key)
            if entry is None or entry.status == "completed":
                number = int.from_bytes(hashlib.blake2b(repr((key, self.now)).encode(), digest_size=8).digest(), "little") >> 1
                entry = self._known[key] = Entry(*key, rows_of(hole), number, self.now)
            entry.status, entry.begun = "filling", self.now
            entries.append(entry)
        return entries

    def end(self, entry: Entry, status: str, filled: int, now: int, why: str | None = None) -> None:
        """What became of one."""
        entry.status, entry.filled, entry.ended, entry.why = status, filled, now, why
        entry.retries += status == "failed"

    def columns(self, entries: Iterable[Entry], t: int) -> dict[str, list[object]]:
        """Rows of the table, as of ``t``."""
        rows = list(entries)
        ages = [age_of(one.end, self.now) for one in rows]
        return {
            "detection_time": [one.detected for one in rows],
            "receipt_timestamp": [t] * len(rows),
            "exchange": [EXCHANGE] * len(rows),
            "symbol": [one.symbol for one in rows],
            "log_id": [one.log_id for one in rows],
            "data_type": [one.table for one in rows],
            "interval": [one.interval for one in rows],
            "gap_start": [one.start for one in rows],
            "gap_end": [one.end for one in rows],
            "gap_type": [CLASSES[age] for age in ages],
            "priority": [priority(one.interval, age, one.end - one.start, self.scope) for one, age in zip(rows, ages, strict=True)],
            "status": [one.status for one in rows],
            "records_expected": [one.rows for one in rows],
            "records_filled": [one.filled for one in rows],
            "fill_start_time": [one.begun for one in rows],
            "fill_complete_time": [one.ended for one in rows],
            "error_message": [one.why for one in rows],
            "retry_count": [one.retries for one in rows],
        }

    def _key(self, hole: Hole) -> tuple[str, str, str, int, int]:
        start, end = (hole.from_ns, hole.to_ns) if hole.table == "trades" else (hole.first, hole.last + hole.step)
        return hole.table, self.names.get(hole.symbol, hole.symbol), hole.interval, start // _US * _US, end // _US * _US


def priority(interval: str, age: int, length: int, scope: str) -> int:
    """1 to 10: six tenths for the age, three for the interval, one for the length in days; more after a restart or a lost network."""
    days = min(5.0, max(1.0, length / DAY_NS))
    value = 0.6 * _BY_AGE[age] + 0.3 * _BY_INTERVAL.get(interval, _NONE) + 0.1 * days + SCOPES[scope]
    return int(np.clip(value, 5 if scope == "manual" else 1, 10))


def _int(value: object) -> int:
    return int(value) if isinstance(value, int) else 0
