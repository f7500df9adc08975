"""The simulator: venues on loopback, one market behind them, faults as switches, and recordings played back on the venue's own wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

from tape_archive.format.errors import SettingsError
from tape_collectors.simulator.faults import Fault, Faults, Planned
from tape_collectors.simulator.journal import Journal
from tape_collectors.simulator.load import Cycle, Load
from tape_collectors.simulator.market import Market
from tape_collectors.simulator.perpetual_control import PerpetualControl
from tape_collectors.simulator.perpetual_listing import Planned as PlannedListing
from tape_collectors.simulator.perpetual_server import Clock
from tape_collectors.simulator.perpetuals import Perpetuals
from tape_collectors.simulator.server import Exchange, VenueServer

#: exchanges: where each is written; all of them serve the same kind of market
EXCHANGES = {
    "binance_spot": "tape_collectors.simulator.binance:spot",
    "binance_usdm": "tape_collectors.simulator.binance:usdm",
    "okx_spot": "tape_collectors.simulator.okx:spot",
    "okx_swap": "tape_collectors.simulator.okx:swap",
    "bybit_spot": "tape_collectors.simulator.bybit:spot",
    "bybit_linear": "tape_collectors.simulator.bybit:linear",
    "gate_spot": "tape_collectors.simulator.gate:spot",
    "gate_usdt": "tape_collectors.simulator.gate_futures:usdt",
    "mexc_spot": "tape_collectors.simulator.mexc:spot",
}
VENUES = (*EXCHANGES, "polymarket")
#: what is served when nobody says
USUAL = ("binance_spot", "binance_usdm", "polymarket")
PRICES = {"BTCUSDT": 84000.0, "ETHUSDT": 2680.0, "SOLUSDT": 190.0, "XRPUSDT": 15.2}
STEP_S = 0.02


class Player(Protocol):
    """A recording that takes a venue's place, or (not ``takes_over``) gives the venue's market its contents."""

    venue: str
    takes_over: bool

    @property
    def symbols(self) -> Sequence[str]:
        """The symbols in it."""

    def attach(self, server: VenueServer) -> None:
        """The server listens."""

    def stop(self) -> None:
        """The server ends."""


class Simulator:
    """``async with Simulator(["binance_spot"]) as sim: sim.endpoints``. Its task steps the market fifty times a second.

    ``keep``: the journal keeps every frame, and every book that ever was can be asked back (tests; memory grows).
    ``perpetuals``: binance_usdm has so many and every stream of them, at ``rate`` frames a second (0: 15,000), on a ``clock`` of its own;
    symbols come and go by ``plan``; ``weight`` a minute is what REST allows; connections live ``life_s`` (see ``perpetual_server``).
    ``load``: a Binance venue that sends pre-built frames of so many symbols (L0000USDT…), ``rate`` frames a second (0: flat out).
    """

    def __init__(
        self,
        venues: Sequence[str] = USUAL,
        *,
        seed: int = 1,
        planned: Sequence[Planned] = (),
        play: Sequence[Player] = (),
        host: str = "127.0.0.1",
        symbols: Sequence[str] = tuple(PRICES),
        window_s: float = 0.0,
        resolve_s: float = 0.0,
        step_s: float = STEP_S,
        credentials: tuple[str, str, str] | None = None,
        keep: bool = False,
        load: Mapping[str, int] | None = None,
        rate: float = 0.0,
        perpetuals: int = 0,
        clock: Clock | None = None,
        plan: Sequence[PlannedListing] = (),
        weight: int = 0,
        life_s: float = 86_400.0,
    ) -> None:
        for venue in venues:
            if venue not in VENUES:
                raise SettingsError(f"the simulator has no venue {venue!r} (known: {', '.join(VENUES)})")
        self.faults = Faults(seed)
        self.faults.planned += planned
        self.journal = Journal(keep)
        self.servers: dict[str, VenueServer] = {}
        self.markets: dict[str, Market] = {}
        self.players = list(play)
        self._step_s = step_s
        self._begun = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        #: the market stands still; streams still send what is due
        self.paused = False
        prices = {symbol: PRICES.get(symbol, 100.0) for symbol in symbols}
        for venue in venues:
            if load and venue in load:
                self.servers[venue] = Load(Cycle(load[venue], futures=venue == "binance_usdm", seed=seed), rate=rate, host=host)
            elif perpetuals and venue == "binance_usdm":
                settings = {"rate": rate or 15_000.0, "step_s": step_s, "weight": weight, "life_s": life_s, "plan": plan}
                self.servers[venue] = self._perpetuals(venue, perpetuals, clock or Clock(), seed=seed, host=host, **settings)
            elif venue == "polymarket":
                from tape_collectors.simulator.polymarket import Polymarket

                lengths = {"window_s": window_s, "resolve_s": resolve_s}
                self.servers[venue] = Polymarket(
                    self.faults, seed=seed, host=host, credentials=credentials, journal=self.journal, **lengths
                )
            else:
                played = {symbol: 100.0 for player in play if player.venue == venue for symbol in player.symbols}
                self.servers[venue] = self._exchange(venue, played or prices, seed=seed, keep=keep, host=host)

    def _perpetuals(self, venue: str, count: int, clock: Clock, *, seed: int, host: str, **settings: Any) -> PerpetualControl:
        market = self.markets[venue] = Perpetuals(count, seed=seed, first_id=int(time.time()) * 1000, ms=clock.last)
        return PerpetualControl(self.faults, market, host=host, journal=self.journal, clock=clock, **settings)

    def _exchange(self, venue: str, prices: dict[str, float], *, seed: int, keep: bool, host: str) -> Exchange:
        """Ids begin with the time, so that they go on after the venue was started again, as a real venue's do.

        Update ids of Binance's futures are shared by all symbols, so those of one symbol have holes (only ``pu`` chains them).
        """
        stride = 9 if venue == "binance_usdm" else 1
        self.markets[venue] = Market(prices, seed=seed, first_id=int(time.time()) * 100, keep=keep, stride=stride)
        module, attribute = EXCHANGES[venue].split(":")
        make: Callable[..., Exchange] = getattr(import_module(module), attribute)
        return make(self.faults, self.markets[venue], host=host, journal=self.journal)

    async def __aenter__(self) -> Simulator:
        for server in self.servers.values():
            await server.start()
            self.faults.listeners.append(server.apply)
        for player in self.players:
            player.attach(self.servers[player.venue])
        self._begun = time.monotonic()
        self._task = asyncio.create_task(self._run(), name="simulator")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for player in self.players:
            player.stop()
        for server in self.servers.values():
            await server.stop()

    @property
    def endpoints(self) -> dict[str, str]:
        """``{"binance_spot.rest": "http://…", …}`` as the recorders' ``--endpoint`` takes them."""
        out: dict[str, str] = {}
        for name, server in self.servers.items():
            out |= {f"{name}.{key}": url for key, url in server.endpoints().items()}
        return out

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            self._faults()
            ms = int(time.time() * 1000)
            for name, server in self.servers.items():
                if isinstance(server, Load) or any(player.venue == name and player.takes_over for player in self.players):
                    continue
                if isinstance(server, Exchange):
                    market = self.markets[name]
                    server.step(ms, {symbol: ([], []) for symbol in market.instruments} if self.paused else market.step(ms))
                else:
                    server.step(ms)  # type: ignore[attr-defined]
            due += self._step_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _faults(self) -> None:
        now = time.monotonic() - self._begun
        for planned in list(self.faults.planned):
            if planned.at_s <= now:
                self.faults.planned.remove(planned)
                if planned.for_s:
                    self.faults.begin(planned.fault)
                    asyncio.get_running_loop().call_later(planned.for_s, self.faults.active.remove, planned.fault)
                else:
                    self.once(planned.fault)

    def once(self, fault: Fault) -> None:
        """A fault that happens at one moment: disconnect, close, shutdown, restart, resend."""
        for name, server in self.servers.items():
            if fault.hits(name, ""):
                if fault.kind == "shutdown":
                    server.announce_shutdown()
                    fault.count += len(server.clients)
                elif fault.kind in ("restart", "resend"):
                    fault.count += server.restart() if fault.kind == "restart" else server.resend()
                else:
                    fault.count += server.cut(fault.kind, fault.code, fault.n)
