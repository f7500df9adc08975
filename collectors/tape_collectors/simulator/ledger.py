"""What was sent, by stream and symbol: how many events, their first and last id, and a hash that does not depend on their order.

An event's hash is xxh3_64 of a text made of fields that a table stores; a row of the ledger is the sum of them modulo 2^64, so an event
that is missing, changed or stored twice shows. ``KEYS`` says which text. Numbers are written by ``number``: plain, without zeros at the
end, so that a float64 of a table gives the same text as the venue's decimal. An event counts once, however many connections got it.
"""

from __future__ import annotations

from array import array
from decimal import Decimal
from typing import Any

from xxhash import xxh3_64_intdigest

#: the text of an event by its stream, in the venue's own field names; the id is the first field after the symbol
KEYS = {
    "aggTrade": "s|a|p|q|T|m (1: the buyer is the maker, 0)",
    "bookTicker": "s|u|b|B|a|A",
    "depth": "s|u|pu|bids|asks (price:size, joined by commas; bids from the highest price, asks from the lowest)",
    "markPrice": "s|E|p|i|r|T",
    "kline_<i>": "s|t|o|h|l|c|v|q|n|V|Q (closed candles only)",
    "kline_<i>:open": "s|E|t|o|h|l|c|v|n (candles that still run)",
    "ticker": "s|E|c|Q|o|h|l|w|v|q|n",
    "forceOrder": "s|T|S|ap|q",
    "!contractInfo": "s|E|cs|ct",
    "openInterest": "s|time|openInterest (each REST answer)",
}
_MASK = 2**64 - 1


def number(value: str | float | int | Decimal) -> str:
    """A number as the ledger's texts have it: ``"0.10"``, ``0.1`` and ``Decimal("0.100")`` are ``0.1``; ``"84000.0"`` is ``84000``."""
    if isinstance(value, float):
        value = repr(value)
        if "e" not in value:
            # A ledger of millions is compared: a Decimal would take most of that time.
            plain = value.removesuffix(".0")
            return "0" if plain == "-0" else plain
    plain = f"{Decimal(value):f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("", "-0") else plain


def key(*fields: object) -> str:
    """Fields as a text: numbers by ``number``, True and False as 1 and 0, texts as they are (a decimal text must go through ``number``)."""
    return "|".join(
        str(int(field)) if isinstance(field, bool) else number(field) if isinstance(field, float | Decimal) else str(field)
        for field in fields
    )


class Row:
    """One stream of one symbol. ``unsent``: what the market made and nobody was sent, for the streams that are made in any case. ``ids``:
    of what was sent, if somebody wants them."""

    __slots__ = ("count", "first", "ids", "last", "sum", "unsent")

    def __init__(self, *, ids: bool = False) -> None:
        self.unsent: Row | None = None
        self.clear(ids=ids)

    def clear(self, *, ids: bool = False) -> None:
        """Begin anew."""
        self.count = self.first = self.last = self.sum = 0
        self.unsent = None
        self.ids = array("q") if ids else None

    def unsend(self, id: int, text: str) -> None:
        """One event that nobody was sent."""
        if self.unsent is None:
            self.unsent = Row()
        self.unsent.add(id, text)

    def add(self, id: int, text: str) -> None:
        """One event."""
        if not self.count:
            self.first = id
        self.count += 1
        self.last = id
        self.sum += xxh3_64_intdigest(text.encode())
        if self.ids is not None:
            self.ids.append(id)

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"count": self.count, "first": self.first, "last": self.last, "hash": f"{self.sum & _MASK:016x}"}


class Ledger:
    """Rows since ``since_ms`` (venue time, inclusive) until ``until_ms`` (exclusive; None: it still counts)."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.counting = True
        self.ids = False
        self.since_ms = 0
        self.until_ms: int | None = None

    def row(self, stream: str, symbol: str) -> Row:
        """The row of a stream (``aggTrade``, ``kline_1m``, ``depth@100ms``…) and symbol."""
        found = self.rows.get((stream, symbol))
        if found is None:
            found = self.rows[stream, symbol] = Row(ids=self.ids)
        return found

    def reset(self, ms: int, *, ids: bool = False) -> None:
        """Count from now on; every later event has at least this venue time. ``ids``: keep them, 8 bytes each."""
        self.ids = ids
        for row in self.rows.values():
            row.clear(ids=ids)
        self.counting, self.since_ms, self.until_ms = True, ms, None

    def stop(self, ms: int) -> None:
        """Count no more; every later event has at least this venue time."""
        if self.counting:
            self.counting, self.until_ms = False, ms

    def shown(self, stream: str = "", symbol: str = "") -> dict[str, Any]:
        """As JSON has it: rows with something in them, of one stream and symbol if given."""
        rows = []
        for (name, of), row in sorted(self.rows.items()):
            if stream in ("", name) and symbol in ("", of) and (row.count or row.unsent):
                unsent = {"unsent": row.unsent.shown()} if row.unsent else {}
                rows.append({"stream": name, "symbol": of, **row.shown(), **unsent})
        return {"since_ms": self.since_ms, "until_ms": self.until_ms, "rows": rows}

    def ids_of(self, stream: str, symbol: str) -> list[int]:
        """The ids of what was sent, in order; none if they are not kept."""
        row = self.rows.get((stream, symbol))
        return list(row.ids) if row is not None and row.ids is not None else []

    def totals(self) -> dict[str, dict[str, Any]]:
        """By stream over all symbols: count and hash."""
        found: dict[str, list[int]] = {}
        for (name, _), row in self.rows.items():
            if row.count:
                sums = found.setdefault(name, [0, 0])
                sums[0] += row.count
                sums[1] += row.sum
        return {name: {"count": count, "hash": f"{total & _MASK:016x}"} for name, (count, total) in sorted(found.items())}
