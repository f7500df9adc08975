"""What an OFI and CVD output is: enough, with the tape, to make it again. It stands in the head mark of the tape."""

from __future__ import annotations

from typing import Literal

import msgspec

from tape_collectors.market.features.zscore import DeltaSetup
from tape_collectors.market.trade_chain import Carry

#: the tapes that have such an output
VENUE = "binance_usdm"


class HarvestSetup(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are the brief's settings. ``carry``: where the run before left CVD, by symbol. ``format``: how it is encoded."""

    symbols: tuple[str, ...]
    venue: str = VENUE
    depth: str = "depth@100ms"
    trades: str = "aggTrade"
    rotate_s: int = 60
    interval_s: int = 10
    z_mode: Literal["delta", "level"] = "delta"
    scale_mode: Literal["hybrid", "ewma"] = "hybrid"
    mad_multiplier: float = 1.8
    fast_weight: float = 0.2
    half_life_s: float = 600.0
    limit: float = 8.0
    remembered: int = 8192
    carry: dict[str, Carry] = {}
    format: int = 1

    def delta(self) -> DeltaSetup:
        """Of the z of single changes."""
        return DeltaSetup(
            scale=self.scale_mode,
            half_life=self.half_life_s,
            fast_weight=self.fast_weight,
            mad_multiplier=self.mad_multiplier,
            limit=self.limit,
        )
