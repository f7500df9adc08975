"""Recorded windows: the tokens, strikes and results that markets really had, told by Gamma no earlier than it knew them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tape_collectors.simulator.windows import Window

#: what Gamma does not say before a market is closed
_LATER = ("closedTime", "umaEndDate", "umaResolutionStatus", "automaticallyResolved")
E18 = 10**18


class GivenWindow(Window):
    """A window with the tokens, strike and result that it really had. ``row``: its line of the markets file."""

    def __init__(self, row: dict[str, Any], final: float) -> None:
        super().__init__(str(row["slug"]), str(row["asset"]), int(row["start_sec"]), int(row["end_sec"]), 1)
        self.raw: dict[str, Any] = row["raw"]
        self.condition = str(row["condition_id"])
        self.up, self.down = row["token_ids"]
        self._strike = int(row["strike_value"]) / E18 if row["strike_value"] else None
        self._final = final
        self._up_won = bool(row["outcome_prices"][0] == "1")

    @property
    def strike(self) -> float:
        return self._final if self._strike is None else self._strike

    @property
    def known_strike(self) -> float | None:
        return self._strike

    @property
    def final(self) -> float:
        return self._final

    @property
    def up_won(self) -> bool:
        return self._up_won

    def market(self, closed: bool) -> dict[str, Any] | None:
        """The Gamma object: the file's own once closed, and before that without what nobody knew."""
        if closed:
            return self.raw
        kept = {key: value for key, value in self.raw.items() if key not in _LATER}
        return kept | {"closed": False, "acceptingOrders": True, "outcomePrices": '["0.5", "0.5"]'}


def given(rows: Iterable[dict[str, Any]], ticks: dict[int, str]) -> list[GivenWindow]:
    """The windows of the rows. What a window closed at is the next one's strike, else the value in effect at its end."""
    rows = list(rows)
    strikes = {int(row["start_sec"]): int(row["strike_value"]) / E18 for row in rows if row["strike_value"]}
    return [GivenWindow(row, strikes.get(int(row["end_sec"])) or _latest(ticks, int(row["end_sec"]))) for row in rows]


def _latest(ticks: dict[int, str], second: int) -> float:
    """The latest tick at or before a second (0 if there is none within an hour)."""
    return next((int(ticks[at]) / E18 for at in range(second, second - 3600, -1) if at in ticks), 0.0)
