"""What must hold between the rows of an output, whatever the tape says: a second way to the same numbers, over all rows.

1. ``prices`` and ``cvd`` have the same trades.
2. CVD adds up: between two neighbouring trades of one anchor, with no hole told between them, it changes by ``delta``.
3. ``z_raw`` · ``scale`` is ``delta`` (of z of single changes), and ``z_cvd`` is the nearest value of ``z_raw`` within the limit.
4. ``ofi_value`` is the order flow imbalance of the best bid and ask in ``book`` (Cont, Kukanov & Stoikov), computed anew by arrays.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from tape_monitor.quality.parts import Columns

TOLERANCE = 1e-9
Values = NDArray[np.float64]


class Identity(msgspec.Struct):
    """One of the rules for one symbol: how many rows were looked at, how many break it, and the tape time of the first that does."""

    symbol: str
    rule: str
    rows: int
    wrong: int
    first: int


def _told(symbol: str, rule: str, wrong: NDArray[np.bool_], times: NDArray[np.int64]) -> Identity:
    at = np.flatnonzero(wrong)
    return Identity(symbol, rule, len(wrong), len(at), int(times[at[0]]) if len(at) else 0)


def _differs(one: Values, other: Values, size: Values) -> NDArray[np.bool_]:
    """Beyond rounding of numbers as large as ``size``; two unknown values do not differ."""
    unknown = np.isnan(one) | np.isnan(other)
    far = np.abs(np.where(unknown, 0.0, one - other)) > TOLERANCE * np.maximum(1.0, np.abs(size))
    wrong: NDArray[np.bool_] = far | (np.isnan(one) != np.isnan(other))
    return wrong


def same_trades(symbol: str, prices: Columns, cvd: Columns) -> Identity:
    """Rule 1."""
    one, other = np.unique(prices["agg_trade_id"]), np.unique(cvd["agg_trade_id"])
    lone = np.setxor1d(one, other)
    times = np.concatenate((prices["recv_ns"], cvd["recv_ns"]))
    ids = np.concatenate((prices["agg_trade_id"], cvd["agg_trade_id"]))
    first = times[ids == lone[0]][0] if len(lone) else 0
    return Identity(symbol, "prices and cvd have the same trades", len(np.union1d(one, other)), len(lone), int(first))


def adds_up(symbol: str, cvd: Columns) -> Identity:
    """Rule 2."""
    level, delta, size = cvd["cvd"], cvd["delta"], np.abs(cvd["cvd"])
    same = (np.diff(cvd["anchor_ms"]) == 0) & (np.diff(cvd["gaps"]) == 0) & (np.diff(cvd["agg_trade_id"]) == 1) & ~np.isnan(delta[1:])
    wrong = _differs(np.diff(level), delta[1:], np.maximum(size[1:], size[:-1])) & same
    return _told(symbol, "cvd changes by delta", wrong[same], cvd["recv_ns"][1:][same])


def scores(symbol: str, cvd: Columns, limit: float | None, single: bool = True) -> list[Identity]:
    """Rule 3. ``limit``: None: the largest |z_cvd| that differs from its z_raw. ``single``: z is of single changes."""
    raw, z, scale, times = cvd["z_raw"], cvd["z_cvd"], cvd["scale"], cvd["recv_ns"]
    if limit is None:
        clipped = np.abs(raw) > np.abs(z)
        limit = float(np.abs(z[clipped]).max()) if clipped.any() else float("inf")
    out = [_told(symbol, "z_cvd is z_raw within the limit", _differs(z, np.clip(raw, -limit, limit), z), times)]
    if single:
        known = ~np.isnan(raw)
        wrong = _differs((raw * scale)[known], cvd["delta"][known], cvd["delta"][known])
        out.append(_told(symbol, "z_raw times scale is delta", wrong, times[known]))
    return out


def best_level(book: Columns) -> Values:
    """Rule 4: by row of ``book``, OFI against the row before; NaN for the first, across a side that is empty or crossed, and for a
    snapshot, which nothing is differenced with."""
    bid, bid_size, ask, ask_size = (book[name] for name in ("bid_price_1", "bid_qty_1", "ask_price_1", "ask_qty_1"))
    out = np.full(len(bid), np.nan)
    with np.errstate(invalid="ignore"):
        proper = (bid < ask) & (bid_size > 0) & (ask_size > 0)
        bought = np.where(bid[1:] >= bid[:-1], bid_size[1:], 0.0) - np.where(bid[1:] <= bid[:-1], bid_size[:-1], 0.0)
        sold = np.where(ask[1:] <= ask[:-1], ask_size[1:], 0.0) - np.where(ask[1:] >= ask[:-1], ask_size[:-1], 0.0)
    out[1:] = np.where(proper[1:] & proper[:-1] & ~book["snapshot"][1:], bought - sold, np.nan)
    return out


def order_flow(symbol: str, book: Columns, ofi: Columns) -> Identity:
    """Rule 4, for the updates that both have and whose row before is the one that they continue."""
    last, previous, snapshot = book["last_id"], book["prev_id"], book["snapshot"]
    follows = np.zeros(len(last), np.bool_)
    follows[1:] = ~snapshot[1:] & (snapshot[:-1] | (previous[1:] == last[:-1]))
    expected, ids = best_level(book)[follows], last[follows]
    _, here, there = np.intersect1d(ids, ofi["last_id"], return_indices=True)
    stored, wanted = ofi["ofi_value"][there], expected[here]
    return _told(symbol, "ofi_value is that of the book", _differs(stored, wanted, wanted), ofi["recv_ns"][there])
