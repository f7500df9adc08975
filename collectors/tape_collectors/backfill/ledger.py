"""Which instruments there are and since when: from the ledger of the tables, else from the venue, once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from tape_archive.tables.schema import EXCHANGE
from tape_archive.tables.search import nanoseconds
from tape_archive.tables.tables import Tables
from tape_collectors.backfill.client import Client
from tape_collectors.backfill.run import Batches
from tape_collectors.backfill.scan import Known
from tape_collectors.venues.binance import USDM
from tape_collectors.venues.binance.symbols import SILENT, Listed, listed
from tape_collectors.venues.binance.wire import MS
from tape_collectors.venues.protocol import Fetch

_GONE = "GONE"
#: a delivery date that is none
_NEVER_MS = 4_000_000_000_000


def native(name: str) -> str:
    """The venue's name of a perpetual of the tables, where no ledger tells it: ``BTC-USDT-PERP`` -> ``BTCUSDT``."""
    return name.removesuffix("-PERP").replace("-", "")


def remembered(store: Tables) -> dict[str, Known]:
    """What the ledger tells; an instrument without a listing time, and not gone, is not known. One that was listed since the ledger began
    is fresh: from its first trade on somebody should have recorded it."""
    columns = ("symbol", "native", "status", "timestamp", "listed", "delisted")
    rows = store.read("instruments", columns=columns)
    known: dict[str, Known] = {}
    times = {name: rows[name].fill_null(rows["timestamp"][0]) if len(rows) else rows[name] for name in ("listed", "delisted")}
    values = {name: nanoseconds(column).tolist() for name, column in times.items()}
    absent = {name: rows[name].is_null().to_pylist() for name in times}
    begun = int(nanoseconds(rows["timestamp"]).min()) if len(rows) else 0
    for at, row in enumerate(rows.select(["symbol", "native", "status"]).to_pylist()):
        before = known.get(row["symbol"])
        since, until = (None if absent[name][at] else values[name][at] for name in ("listed", "delisted"))
        if before is not None:
            since, until = before.listed if since is None else since, before.delisted if until is None else until
        trades = row["status"] not in (*SILENT, _GONE)
        known[row["symbol"]] = Known(row["native"], since, None if trades else until, trades, since is not None and since >= begun)
    return {name: one for name, one in known.items() if one.listed is not None or not one.rest}


async def learned(client: Client, batches: Batches, names: Iterable[str]) -> dict[str, Known]:
    """Ask the venue for these, and keep what it says in the ledger. Raises VenueProtocolError, Answered, NoAnswer."""
    t, data = await client.get(Fetch(USDM.info, retries=0))
    there = {row.name: row for row in listed(data).values()}
    rows: list[Mapping[str, Any]] = []
    known: dict[str, Known] = {}
    for name in names:
        row = there.get(name)
        known[name] = _known(name, row, t)
        rows.append(_row(name, row, known[name], t))
    if rows:
        columns = {column: [row[column] for row in rows] for column in rows[0]}
        batches.put("instruments", columns)
        await batches.flush()
    return known


def _known(name: str, row: Listed | None, t: int) -> Known:
    if row is None:
        return Known(native(name), rest=False)
    over = row.status in SILENT and 0 < row.deliveryDate < _NEVER_MS and row.deliveryDate * MS <= t
    return Known(row.symbol, row.onboardDate * MS or None, row.deliveryDate * MS if over else None, not over)


def _row(name: str, row: Listed | None, known: Known, t: int) -> Mapping[str, Any]:
    base, _, rest = name.partition("-")
    return {
        "timestamp": t,
        "receipt_timestamp": time.time_ns(),
        "exchange": EXCHANGE,
        "symbol": name,
        "native": known.native,
        "status": row.status if row else _GONE,
        "base": row.multiple[1] if row else base,
        "quote": row.quoteAsset if row else rest.partition("-")[0],
        "multiplier": float(row.multiple[0]) if row else 1.0,
        "tick_size": float(row.tick) if row and row.tick else None,
        "lot_size": float(row.lot) if row and row.lot else None,
        "first_seen": t,
        "last_seen": t,
        "listed": known.listed,
        "delisted": known.delisted,
        "previous": None,
    }
