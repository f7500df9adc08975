"""The life of windows: found ahead, subscribed before they open, their strike and result asked for until known. Pure.

Times (sheet sections 1.2 and 5): a market exists about a day before it opens; ``priceToBeat`` appears about a minute after the open;
results come 15 s to
some minutes after the end. A window is done when it is resolved, or ``linger_s`` after its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tape_archive.format.records import Lifecycle, Notice, Record, ReferencePrice, Unknown
from tape_collectors.venues.polymarket import wire
from tape_collectors.venues.polymarket.symbols import Window, following, length
from tape_collectors.venues.protocol import Command, Fetch, Mark

SECOND = 1_000_000_000
_FIRST_STRIKE_S = 62
_MOST_S = 60.0


class Facts(msgspec.Struct):
    """What Gamma says of a window's market. ``tokens`` in the order of ``outcomes``."""

    condition: str
    tokens: tuple[str, ...]
    outcomes: tuple[str, ...]
    source: str = ""


class Life(msgspec.Struct):
    """Where one window stands."""

    window: Window
    facts: Facts | None = None
    due: float = 0.0
    attempts: int = 0
    strike: dict[str, float] = msgspec.field(default_factory=dict)
    result: str = ""
    complained: bool = False
    filed: bool = False
    checked: bool = False
    resolved_t: int = 0
    confirmed: bool = False
    told: bool = False


class Windows:
    """All windows of some coins and time frames. ``t`` is tape time in ns."""

    def __init__(
        self,
        kinds: Sequence[tuple[str, str]],
        *,
        lead_s: float = 90.0,
        linger_s: float = 1800.0,
        result_after_s: float = 50.0,
        confirm_s: float = 0.0,
    ) -> None:
        self.lives: dict[str, Life] = {}
        self._kinds = list(kinds)
        self._lead = lead_s
        self._linger = linger_s
        self._after = result_after_s
        #: a resolved window waits at most so long for the chain to confirm it
        self._confirm = confirm_s

    # -- what should be ------------------------------------------------------------------------------------------------------

    def wanted(self, t: int) -> list[Life]:
        """The windows that should be subscribed and filed now."""
        now = t / SECOND
        return [life for life in self.lives.values() if life.facts and now >= life.window.start - self._lead]

    def over(self, t: int) -> list[Life]:
        """The windows that are done: each is given once, and forgotten."""
        now = t / SECOND
        ended = [life for life in self.lives.values() if self._complete(life, t) or now > life.window.end + self._linger]
        for life in ended:
            del self.lives[life.window.slug]
        return ended

    def _complete(self, life: Life, t: int) -> bool:
        return bool(life.resolved_t) and (life.confirmed or t - life.resolved_t >= self._confirm * SECOND)

    def file(self, life: Life) -> None:
        """Its file was opened: ask Gamma and the CLOB once more, so that their answers are in it."""
        life.filed, life.due = True, 0.0
        # What was learned before the file was there is asked again, and then stands in it.
        life.strike.clear()

    def owner(self, request: str) -> str:
        """The slug that a request of ours is about; "" if none."""
        name = request.partition(" ")[2].rpartition("/")[2]
        if name in self.lives:
            return name
        return next((slug for slug, life in self.lives.items() if life.facts and life.facts.condition == name), "")

    # -- time ----------------------------------------------------------------------------------------------------------------

    def tick(self, t: int) -> list[Command]:
        """Once a second: find what comes, ask for what is due."""
        now = t / SECOND
        for coin, timeframe in self._kinds:
            ahead = max(self._lead * 2, 120.0)
            for window in following(coin, timeframe, int(now), 2 + int(ahead // length(timeframe))):
                if window.slug not in self.lives and window.start - now <= ahead and now < window.end:
                    self.lives[window.slug] = Life(window)
        out: list[Command] = []
        for life in self.lives.values():
            if now >= life.due and self._asks(life, now):
                life.attempts += 1
                life.due = now + self._wait(life, now)
                out.append(Fetch(f"GET /events/slug/{life.window.slug}", host="gamma", retries=0))
                if life.facts and life.filed and not life.checked:
                    life.checked = True
                    out.append(Fetch(f"GET /clob-markets/{life.facts.condition}", host="clob", retries=2))
        return out

    def _asks(self, life: Life, now: float) -> bool:
        window = life.window
        if life.facts is None:
            return True
        if life.filed and not life.checked:
            return True
        if "gamma" not in life.strike and window.end > now >= self._strike_due(window):
            return True
        return not life.result and now >= window.end + self._after

    def _strike_due(self, window: Window) -> float:
        return window.start + min(_FIRST_STRIKE_S, (window.end - window.start) / 3 + 1)

    def _wait(self, life: Life, now: float) -> float:
        """Seconds to the next question: growing, and never long when something is due."""
        if life.facts is None:
            return min(_MOST_S / 2, 1.0 * 1.5 ** min(life.attempts, 12))
        if now >= life.window.end + self._after:
            past = now - life.window.end - self._after
            return min(_MOST_S, max(2.0, past / 5))
        return min(20.0, max(2.0, (life.window.end - life.window.start) / 45))

    # -- replies -------------------------------------------------------------------------------------------------------------

    def fetched(self, t: int, request: str, status: int, data: bytes) -> tuple[list[Record], list[Command]]:
        """A reply of Gamma or of the CLOB. Never raises."""
        life = self.lives.get(self.owner(request))
        if life is None or status != 200:
            return [], []
        try:
            if "/clob-markets/" in request:
                return [], self._crosscheck(life, data)
            event = wire.gamma_event(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return [Unknown(t, f"gamma: {str(error)[:120]}")], []
        market = next((one for one in event.markets if one.slug in ("", life.window.slug)), None)
        if market is None:
            return [Notice(t, "gamma", f"{life.window.slug}: no market yet")], []
        commands = [] if life.facts else self._facts(t, life, market)
        commands += self._strike(t, life, event)
        commands += self._result(t, life, market, event)
        return [], commands

    def _facts(self, t: int, life: Life, market: wire.Market) -> list[Command]:
        tokens = wire.listed(market.clobTokenIds) or (wire.listed(market.positionIds) if market.version == "v2" else [])
        outcomes = wire.listed(market.outcomes)
        if len(tokens) < 2 or len(tokens) != len(outcomes) or not all(token.isdecimal() for token in tokens) or not market.conditionId:
            if life.complained:
                return []
            life.complained = True
            why = "Gamma has the market but no token ids yet; asking again"
            return [Mark("source", {"channel": "gamma", "status": "incomplete", "why": why, "slug": life.window.slug})]
        life.facts = Facts(market.conditionId, tuple(tokens), tuple(outcomes), market.resolutionSource)
        life.attempts, life.due = 0, 0.0
        return []

    def _crosscheck(self, life: Life, data: bytes) -> list[Command]:
        assert life.facts is not None
        rows = wire.clob_market(data).t
        pairs = [(str(row.get("t")), str(row.get("o"))) for row in rows]
        if not pairs or sorted(pairs) == sorted(zip(life.facts.tokens, life.facts.outcomes, strict=True)):
            return []
        return [Mark("diff", {"source": "clob-markets", "why": "tokens and outcomes differ from Gamma's"}, life.window.slug)]

    def _strike(self, t: int, life: Life, event: wire.GammaEvent) -> list[Command]:
        metadata = event.eventMetadata
        if metadata is None or metadata.priceToBeat is None or "gamma" in life.strike:
            return []
        life.strike["gamma"] = metadata.priceToBeat
        return [self._strike_mark(life, repr(metadata.priceToBeat), "gamma priceToBeat")]

    def _strike_mark(self, life: Life, price: str, source: str) -> Mark:
        return Mark("strike", {"price": price, "source": source, "ts": life.window.start * SECOND}, life.window.slug)

    def _result(self, t: int, life: Life, market: wire.Market, event: wire.GammaEvent) -> list[Command]:
        outcome = outcome_of(market)
        if not outcome or life.result:
            return []
        life.result, life.resolved_t = outcome, t
        final = event.eventMetadata.finalPrice if event.eventMetadata else None
        out: list[Command] = []
        if final is not None:
            for following_life in self.lives.values():
                same = following_life.window.coin == life.window.coin and following_life.window.timeframe == life.window.timeframe
                if same and following_life.window.start == life.window.end and not following_life.strike:
                    following_life.strike["previous"] = final
                    out.append(self._strike_mark(following_life, repr(final), "gamma finalPrice of the window before"))
        fields = {"outcome": outcome, "source": "gamma", "final": final, "ts": t}
        return [*out, Mark("result", fields, life.window.slug)]

    # -- what the sockets say --------------------------------------------------------------------------------------------------

    def heard(self, t: int, record: Record) -> list[Command]:
        """A price or a resolution from a socket: the strike's second source, the result's bonus."""
        if isinstance(record, ReferencePrice) and record.window_s == 60:
            coin = record.symbol.partition("/")[0].removesuffix("usd").removesuffix("usdt")
            out: list[Command] = []
            for life in self.lives.values():
                if life.window.coin == coin and record.ts == life.window.start * SECOND and "twap" not in life.strike:
                    life.strike["twap"] = float(record.price)
                    out.append(self._strike_mark(life, record.price, f"{record.source} TWAP60 at the start"))
            return out
        if isinstance(record, Lifecycle) and record.status == "resolved" and record.detail:
            for slug, life in self.lives.items():
                if life.facts and life.facts.condition == record.symbol and not life.told:
                    life.told = True
                    return [Mark("result", {"outcome": record.detail, "source": "market_resolved", "ts": record.ts}, slug)]
        return []


def outcome_of(market: wire.Market) -> str:
    """The outcome that won, by Gamma: closed, resolved, and one price at 1. "" if it is not settled; "split" for 50/50."""
    prices, outcomes = wire.listed(market.outcomePrices), wire.listed(market.outcomes)
    if not market.closed or market.umaResolutionStatus not in ("resolved", "") or len(prices) != len(outcomes):
        return ""
    winners = [name for name, price in zip(outcomes, prices, strict=True) if price in ("1", "1.0")]
    if len(winners) == 1:
        return winners[0]
    return "split" if prices and all(price == "0.5" for price in prices) and market.umaResolutionStatus == "resolved" else ""
