"""Venues, pure. ``load(name)`` imports one lazily, so that nobody pays for a venue that is not recorded."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tape_archive.format.errors import SettingsError

#: name -> "module:attribute"; the aliases are names that other tools and the brief use.
VENUES = {
    "binance_spot": "tape_collectors.venues.binance:SPOT",
    "binance_usdm": "tape_collectors.venues.binance:USDM",
    "okx_spot": "tape_collectors.venues.okx:SPOT",
    "okx_swap": "tape_collectors.venues.okx:SWAP",
    "bybit_spot": "tape_collectors.venues.bybit:SPOT",
    "bybit_linear": "tape_collectors.venues.bybit:LINEAR",
    "gate_spot": "tape_collectors.venues.gate:SPOT",
    "gate_usdt": "tape_collectors.venues.gate:USDT",
    "mexc_spot": "tape_collectors.venues.mexc:SPOT",
    "polymarket": "tape_collectors.venues.polymarket:POLYMARKET",
}
ALIASES = {
    "binance": "binance_spot",
    "binance_perp": "binance_usdm",
    "binance_futures": "binance_usdm",
    "okx": "okx_spot",
    "okx_perp": "okx_swap",
    "okex": "okx_spot",
    "mexc": "mexc_spot",
    "gate": "gate_spot",
    "gateio": "gate_spot",
    "gate_io": "gate_spot",
    "gate_perp": "gate_usdt",
    "gate_futures": "gate_usdt",
    "bybit": "bybit_spot",
    "bybit_perp": "bybit_linear",
}


def canonical(name: str) -> str:
    """The venue's own name for ``name``. Raises SettingsError, with the nearest valid name, for an unknown one."""
    name = name.strip().lower()
    name = ALIASES.get(name, name)
    if name not in VENUES:
        from difflib import get_close_matches

        near = get_close_matches(name, [*VENUES, *ALIASES], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"unknown venue {name!r}{hint} (known: {', '.join(VENUES)})")
    return name


def load(name: str) -> Any:
    """The venue object of ``name`` (see ``protocol``)."""
    module, attribute = VENUES[canonical(name)].split(":")
    return getattr(import_module(module), attribute)
