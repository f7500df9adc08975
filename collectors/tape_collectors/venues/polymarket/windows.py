"""The life of windows: found ahead, subscribed before they open, their strike and result asked for until known. Pure.

Rules (project's sheet, sections 1.2, 1.3 and 5, read 2026-11-20):

1. A market exists about a day before it opens, so it is found by its slug, ahead: ``GET /events/slug/{slug}``, every third time
   ``/markets/slug/``. A 404, or a market without token ids, is asked again, ever more slowly: new markets lag by minutes.
2. ``clobTokenIds`` and ``outcomes`` are paired by index, and checked against the CLOB's own pairs
   (``/clob-markets/{conditionId}``).
3. ``eventStartTime`` decides where a slug is ambiguous (the hour when clocks go back). ``startDate`` is not the start.
4. Strike, best first: Gamma's ``priceToBeat`` (about a minute after the open); the ``finalPrice`` of the window before; the
   TWAP60 tick of exactly the start. Each is marked with its source when it comes, never a worse one after a better. The last
   two hold only where Chainlink settles: 1h and daily windows settle on Binance candles.
5. Result: Gamma from ``result_after_s`` after the end, until closed and resolved with one price at 1. ``finalPrice`` may come a
   little later, and ``/markets/{conditionId}`` of the CLOB says who won as well; both are waited for shortly. The socket's
   ``market_resolved`` is a bonus.
6. A window is done when it is resolved, or ``linger_s`` after its end.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tape_archive.format.records import Lifecycle, Notice, Record, ReferencePrice, Unknown
from tape_collectors.venues.polymarket import wire
from tape_collectors.venues.polymarket.symbols import Window, following, length, seconds
from tape_collectors.venues.protocol import Command, Fetch, Mark

SECOND = 1_000_000_000
_FIRST_STRIKE_S = 62
_MOST_S = 60.0
#: rule 5: what comes after the result is waited for so long
_FINAL_S = 15.0
_WINNER_S = 10.0
#: rule 4: windows that settle on Chainlink's TWAP
_BINANCE = ("1h", "1d")
_DONE = 256


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
    #: source -> price text: ``gamma``, ``previous``, ``twap``
    strike: dict[str, str] = msgspec.field(default_factory=dict)
    result: str = ""
    final: str = ""
    told: str = ""
    complained: bool = False
    filed: bool = False
    checked: bool = False
    winner: bool = False
    resolved_t: int = 0
    confirmed: bool = False


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
        self._done: dict[str, None] = {}

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
            # Two hours of the day when clocks go back have one slug: a file that is sealed is not begun again.
            self._done[life.window.slug] = None
            if len(self._done) > _DONE:
                del self._done[next(iter(self._done))]
        return ended

    def _complete(self, life: Life, t: int) -> bool:
        if not life.resolved_t:
            return False
        since = (t - life.resolved_t) / SECOND
        final = bool(life.final) or since >= self._patience(life)
        return final and (life.winner or since >= _WINNER_S) and (life.confirmed or since >= self._confirm)

    def _patience(self, life: Life) -> float:
        """Rule 5: how long the final price is waited for. Candles have none that we know of."""
        return 0.0 if life.window.timeframe in _BINANCE else _FINAL_S

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
                if window.slug not in self.lives and window.slug not in self._done and window.start - now <= ahead and now < window.end:
                    self.lives[window.slug] = Life(window)
        out: list[Command] = []
        for life in self.lives.values():
            if now >= life.due and self._asks(life, now):
                life.attempts += 1
                life.due = now + self._wait(life, now)
                kind = "markets" if life.facts is None and life.attempts % 3 == 0 else "events"
                out.append(Fetch(f"GET /{kind}/slug/{life.window.slug}", host="gamma", retries=0))
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
        if life.result:
            return not life.final and now - life.resolved_t / SECOND < self._patience(life)
        return now >= window.end + self._after

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
        slug = life.window.slug
        try:
            if "/slug/" not in request:
                return [], self._clob(life, wire.clob_market(data))
            market, metadata = wire.gamma(data, slug, event="/events/" in request)
            if market is None:
                return [Notice(t, "gamma", f"{slug}: no market yet")], []
            # Read before anything is believed: a reply is taken whole or not at all.
            to_beat, final = wire.raw_decimal(metadata.priceToBeat), wire.raw_decimal(metadata.finalPrice)
        except (ValueError, RecursionError) as error:
            return [Unknown(t, f"{slug}: {' '.join(str(error).split())[:120]}")], []
        commands = [] if life.facts else self._facts(life, market)
        if to_beat and "gamma" not in life.strike:
            commands.append(self._strike_mark(life, to_beat, "gamma"))
        return [], [*commands, *self._result(t, life, market, final)]

    def _facts(self, life: Life, market: wire.Market) -> list[Command]:
        slug, v2 = life.window.slug, str(market.version) == "v2"
        tokens = wire.listed(market.clobTokenIds) or (wire.listed(market.positionIds) if v2 else [])
        outcomes = wire.listed(market.outcomes)
        whole = len(tokens) == len(outcomes) == len(set(tokens)) >= 2 and all(token.isascii() and token.isdecimal() for token in tokens)
        if not whole or not market.conditionId:
            if life.complained:
                return []
            life.complained = True
            why = "Gamma has the market but no token ids yet; asking again"
            return [Mark("source", {"channel": "gamma", "status": "incomplete", "why": why, "slug": slug})]
        life.facts = Facts(market.conditionId, tuple(tokens), tuple(outcomes), market.resolutionSource or "")
        life.attempts, life.due = 0, 0.0
        out = self._times(life, market)
        if v2:
            why = "version v2: settled by the PositionManager, not by the conditional tokens; no such window was seen before"
            out.append(Mark("source", {"channel": "gamma", "status": "v2", "why": why, "slug": slug}, slug))
        return out

    def _times(self, life: Life, market: wire.Market) -> list[Command]:
        """Rule 3: the venue's own start, if it is another one that the same slug may name."""
        window = life.window
        start, end = seconds(market.eventStartTime or ""), seconds(market.endDate or "")
        if not start or not end or (start, end) == (window.start, window.end):
            return []
        same = end - start == window.end - window.start and abs(start - window.start) <= 3600
        status = "followed" if same and window.timeframe in _BINANCE else "differs"
        if status == "followed":
            life.window = Window(start, end, window.coin, window.timeframe, window.slug)
        why = f"Gamma says {start}..{end}, the slug {window.start}..{window.end}"
        return [Mark("source", {"channel": "window", "status": status, "why": why, "slug": window.slug}, window.slug)]

    def _clob(self, life: Life, market: wire.ClobMarket) -> list[Command]:
        """Rules 2 and 5: what the CLOB says of the same tokens."""
        facts, slug = life.facts, life.window.slug
        assert facts is not None
        if market.t is not None:
            pairs = sorted((row.t, row.o) for row in market.t)
            if not pairs or pairs == sorted(zip(facts.tokens, facts.outcomes, strict=True)):
                return []
            why = "tokens and outcomes differ from Gamma's"
            return [Mark("diff", {"symbol": slug, "source": "clob-markets", "levels": 0, "why": why}, slug)]
        winners = [row.outcome for row in market.tokens or () if row.winner]
        if len(winners) != 1 or life.winner:
            return []
        life.winner = True
        fields = {"outcome": winners[0], "source": "clob", "ts": life.window.end * SECOND, "final": None}
        out: list[Command] = [Mark("result", fields, slug)]
        if winners[0] != life.result:
            why = f"the CLOB says {winners[0]}, Gamma {life.result}"
            out.append(Mark("diff", {"symbol": slug, "source": "clob", "levels": 0, "why": why[:200]}, slug))
        return out

    def _strike_mark(self, life: Life, price: str, source: str, said: str = "") -> Mark:
        life.strike[source] = price
        fields = {"price": price, "source": said or "gamma priceToBeat", "ts": life.window.start * SECOND}
        return Mark("strike", fields, life.window.slug)

    def _result(self, t: int, life: Life, market: wire.Market, final: str) -> list[Command]:
        outcome = outcome_of(market)
        if not outcome or (life.result and (not final or life.final)):
            return []
        out: list[Command] = []
        if not life.result:
            life.result, life.resolved_t = outcome, t
            if life.facts:
                out.append(Fetch(f"GET /markets/{life.facts.condition}", host="clob", retries=1))
        if final and not life.final:
            life.final = final
            out += self._carried(life)
        ts = seconds(market.closedTime or "") * SECOND or t
        fields = {"outcome": outcome, "source": "gamma", "final": msgspec.Raw(final.encode()) if final else None, "ts": ts}
        return [*out, Mark("result", fields, life.window.slug)]

    def _carried(self, life: Life) -> list[Command]:
        """Rule 4: the final price is the next window's price to beat."""
        one, out = life.window, []
        for life_after in self.lives.values():
            other = life_after.window
            same = (other.coin, other.timeframe, other.start) == (one.coin, one.timeframe, one.end)
            if same and one.timeframe not in _BINANCE and not life_after.strike.keys() & {"gamma", "previous"}:
                out.append(self._strike_mark(life_after, life.final, "previous", "gamma finalPrice of the window before"))
        return [*out]

    # -- what the sockets say --------------------------------------------------------------------------------------------------

    def heard(self, t: int, record: Record) -> list[Command]:
        """A price or a resolution from a socket: the strike's second source, the result's bonus."""
        if isinstance(record, ReferencePrice) and record.window_s == 60:
            coin = record.symbol.partition("/")[0].removesuffix("usd").removesuffix("usdt")
            out: list[Command] = []
            for life in self.lives.values():
                window = life.window
                at_start = window.coin == coin and record.ts == window.start * SECOND and window.timeframe not in _BINANCE
                if at_start and not life.strike:
                    out.append(self._strike_mark(life, record.price, "twap", f"{record.source} TWAP60 at the start"))
            return out
        if isinstance(record, Lifecycle) and record.status == "resolved" and record.detail:
            for slug, life in self.lives.items():
                # Every socket says it, and says it often.
                if life.facts and life.facts.condition == record.symbol and life.told != record.detail:
                    life.told = record.detail
                    fields = {"outcome": record.detail, "source": "market_resolved", "ts": record.ts, "final": None}
                    return [Mark("result", fields, slug)]
        return []


def outcome_of(market: wire.Market) -> str:
    """The outcome that won, by Gamma: closed, resolved, and one price at 1. "" if it is not settled; "split" for 50/50."""
    prices, outcomes = wire.listed(market.outcomePrices), wire.listed(market.outcomes)
    if not market.closed or market.umaResolutionStatus not in ("resolved", "", None) or len(prices) != len(outcomes):
        return ""
    winners = [name for name, price in zip(outcomes, prices, strict=True) if price in ("1", "1.0")]
    if len(winners) == 1:
        return winners[0]
    return "split" if prices and all(price == "0.5" for price in prices) and market.umaResolutionStatus == "resolved" else ""
