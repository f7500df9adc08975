"""Continuity: which ids never came, and which came twice.

Trades of Binance are numbered without holes (``a``). Updates of a futures book say which one they continue (``pu``); after a snapshot the
book goes on from there, and what was between is not known.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tape_archive.format.harvest import Kind
from tape_monitor.quality.parts import Columns
from tape_monitor.quality.spans import Span

#: ids that are listed one by one
MOST_IDS = 10_000


class Break(msgspec.Struct):
    """Ids that never came, between two rows (tape times, unix ns). ``why``: ``missed``; ``late``: came out of order, told as events;
    ``sequence``: an update does not continue the one before; ``resync``: the book began anew. ``missing`` 0: not countable."""

    start: int
    end: int
    from_id: int
    to_id: int
    missing: int
    why: Literal["missed", "late", "sequence", "resync"]


class Continuity(msgspec.Struct):
    """Of the trades (``kind`` prices) or the book of one symbol. ``rate``: of trades missing / (ids + missing); of the book time across
    breaks / time of the window. ``disorder``: rows whose tape time falls. ``resets``: the venue's numbers began anew. ``handovers``: the
    book went on with another connection's."""

    symbol: str
    kind: Kind
    rows: int
    missing: int
    rate: float | None
    breaks: list[Break]
    late: int
    resets: int
    handovers: int
    disorder: int


class Duplicates(msgspec.Struct):
    """Rows that have an id of a row before them. ``ids``: which, and ``times``: when, at most 10,000 of them; ``first``, ``last``:
    tape times of all."""

    symbol: str
    kind: Kind
    rows: int
    duplicates: int
    rate: float | None
    first: int
    last: int
    ids: list[int]
    times: list[int]


class LeftOut(msgspec.Struct):
    """Trades of one symbol that came again and have no row, as the recorder's events tell. ``count``: all of them; ``rate``: count /
    (rows + count). ``sent_twice``: of these on one connection; the others came from a second socket. ``ids``: of those sent twice, as far
    as events name them, at most 10,000; ``times``: of the events (tape time, unix ns)."""

    symbol: str
    count: int
    sent_twice: int
    rate: float | None
    ids: list[int]
    times: list[int]


def left_out(symbol: str, rows: int, events: Columns) -> LeftOut:
    """``rows``: of ``prices``; ``events``: recv_ns, event_type, meta_json."""
    chosen = events["event_type"] == "trades_doubled"
    told = [msgspec.json.decode(meta) for meta in events["meta_json"][chosen].tolist()]
    count, twice = (sum(int(one.get(name, 0)) for one in told) for name in ("count", "sent_twice"))
    ids = [int(id) for one in told for id in one.get("ids", ())][:MOST_IDS]
    times = [t for t, one in zip(events["recv_ns"][chosen].tolist(), told, strict=True) if one.get("sent_twice")]
    return LeftOut(symbol, count, twice, count / (rows + count) if rows + count else None, ids, times[:MOST_IDS])


def epochs(ids: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which numbering each row is of: a new one where the id does not rise above all before it while the event time does."""
    starts = np.zeros(len(ids), np.int64)
    begin = 0
    while begin < len(ids):
        top = np.maximum.accumulate(ids[begin:])
        time = np.maximum.accumulate(events[begin:])
        anew = np.flatnonzero((ids[begin + 1 :] < top[:-1]) & (events[begin + 1 :] > time[:-1]))
        if not len(anew):
            break
        begin += int(anew[0]) + 1
        starts[begin] = 1
    return np.cumsum(starts)


def trades(symbol: str, columns: Columns, late: frozenset[int] = frozenset()) -> Continuity:
    """``columns``: recv_ns, agg_trade_id, event_ts_ms of ``prices``; ``late``: ids that came out of order, and have no row."""
    times, ids = columns["recv_ns"], columns["agg_trade_id"]
    epoch = epochs(ids, columns["event_ts_ms"])
    told = np.sort(np.fromiter(late, np.int64, len(late)))
    breaks, known = [], 0
    for number in range(int(epoch[-1]) + 1 if len(epoch) else 0):
        chosen = epoch == number
        unique, at = np.unique(ids[chosen], return_index=True)
        when = times[chosen][at]
        known += len(unique)
        for before in np.flatnonzero(np.diff(unique) > 1):
            first, last = int(unique[before]) + 1, int(unique[before + 1]) - 1
            came = int(np.searchsorted(told, last, "right") - np.searchsorted(told, first, "left"))
            why: Literal["missed", "late"] = "late" if came == last - first + 1 else "missed"
            breaks.append(Break(int(when[before]), int(when[before + 1]), first, last, last - first + 1 - came, why))
    missing = sum(one.missing for one in breaks)
    rate = missing / (known + missing) if known else None
    resets = int(epoch[-1]) if len(epoch) else 0
    return Continuity(symbol, "prices", len(ids), missing, rate, breaks, len(late), resets, 0, _disorder(times))


def book(symbol: str, columns: Columns, window: Span) -> Continuity:
    """``columns``: recv_ns, first_id, last_id, prev_id (-1: none), snapshot of ``book``."""
    # Twice the same row is a duplicate, not a loss.
    once = _first(columns["last_id"] * 2 + columns["snapshot"])
    names = ("recv_ns", "first_id", "last_id", "prev_id", "snapshot")
    times, first, last, previous, snapshot = (columns[name][once] for name in names)
    follows = ~snapshot[1:] & (previous[1:] >= 0) & (previous[1:] != last[:-1])
    # The first update after a snapshot reaches over its id.
    follows &= ~(snapshot[:-1] & (first[1:] <= last[:-1] + 1) & (last[1:] >= last[:-1]))
    anew = snapshot[1:] & (last[1:] != last[:-1])
    breaks = []
    for at in np.flatnonzero(follows | anew):
        why: Literal["sequence", "resync"] = "resync" if anew[at] else "sequence"
        to_id = int(last[at + 1] if anew[at] else previous[at + 1])
        breaks.append(Break(int(times[at]), int(times[at + 1]), int(last[at]) + 1, to_id, 0, why))
    lost = sum(max(0, one.end - one.start) for one in breaks)
    rate = lost / (window.end - window.start) if len(times) and window.end > window.start else None
    handovers = int(np.count_nonzero(~snapshot[1:] & (previous[1:] < 0)))
    return Continuity(symbol, "book", len(once), 0, rate, breaks, 0, 0, handovers, _disorder(columns["recv_ns"]))


def _first(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows are the first with their key."""
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def _disorder(times: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.diff(times) < 0))


def duplicates(symbol: str, kind: Kind, times: NDArray[np.int64], ids: NDArray[np.int64], epoch: NDArray[np.int64]) -> Duplicates:
    """By id, within a numbering."""
    if not len(ids):
        return Duplicates(symbol, kind, 0, 0, None, 0, 0, [], [])
    again = ~_first(ids + (epoch << 52))
    when, which = times[again], ids[again]
    bounds = (int(when.min()), int(when.max())) if len(when) else (0, 0)
    some = which[:MOST_IDS].tolist(), when[:MOST_IDS].tolist()
    return Duplicates(symbol, kind, len(ids), len(which), len(which) / len(ids), *bounds, *some)
