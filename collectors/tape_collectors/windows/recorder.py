"""``poly-record``: Polymarket's up/down windows, one file each."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from tape_archive.format.atomic import make_folder
from tape_archive.format.errors import SettingsError
from tape_archive.format.lock import Lock
from tape_archive.format.read import last_line, last_time
from tape_archive.format.segment import mend
from tape_archive.format.tape import Tape
from tape_collectors.runtime.fetch import Fetcher
from tape_collectors.runtime.pool import Pool
from tape_collectors.settings import PolySettings
from tape_collectors.venues.polymarket import POLYMARKET
from tape_collectors.venues.polymarket.prices import Sources
from tape_collectors.venues.polymarket.symbols import check, parse
from tape_collectors.venues.polymarket.windows import Life, Windows
from tape_collectors.venues.protocol import Mark
from tape_collectors.windows.crosscheck import BookCheck, ChainCheck
from tape_collectors.windows.price_source import PriceSource
from tape_collectors.windows.tapes import ClobIntake, PriceIntake, Shelf
from tape_collectors.wiring import Process, addresses

log = logging.getLogger(__name__)

#: a resolved window waits at most so long for the chain
_CONFIRM_S = 120.0


async def record(settings: PolySettings) -> int:
    """Record until told to stop; gives the exit code."""
    for coin in settings.coins:
        for timeframe in settings.timeframes:
            check(coin, timeframe)
    if not settings.coins or not settings.timeframes:
        raise SettingsError("no coins or no time frames; name some, e.g. --coins btc,eth --timeframes 15m")
    with Lock(Path(settings.root) / "state" / "poly.lock"):
        return await _PolyRecorder(settings).run()


class _Folder(Tape):
    """The windows' files of earlier runs, as far as the clock must know them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "", "")
        self._folder = folder

    def last_t(self) -> int:
        """Of the files that a crash may have left open."""
        recent = sorted(self._folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)[-50:]
        for path in recent:
            mend(path)
        return max((last_time(path) for path in recent), default=0)


class _PolyRecorder:
    def __init__(self, settings: PolySettings) -> None:
        self.settings = settings
        self.root = Path(settings.root)
        self.folder = self.root / settings.output
        make_folder(self.folder)
        if not os.access(self.folder, os.W_OK):
            raise SettingsError(f"cannot write in {self.folder}; choose another --output or give this user the right to write there")
        kinds = [(coin, timeframe) for coin in settings.coins for timeframe in settings.timeframes]
        self.windows = Windows(
            kinds,
            lead_s=settings.lead_s,
            linger_s=settings.linger_s,
            result_after_s=settings.result_after_s,
            confirm_s=_CONFIRM_S if settings.rpc else 0.0,
        )
        self.hosts, self.sockets = addresses(POLYMARKET, settings.endpoints)
        self.credentials = _credentials()
        self.sources = Sources(credentials=self.credentials is not None)
        self._told: list[str] = []

    async def run(self) -> int:
        """The process."""
        settings, root = self.settings, self.root
        tapes = [Tape(root, "polymarket", "clob"), Tape(root, "polymarket", "price")]
        process = Process("poly", settings, None, [*tapes, _Folder(self.folder)])
        fetcher = process.fetchers["polymarket"] = Fetcher(self.hosts, POLYMARKET.limits, tls=process.tls, shared=process.budgets)
        feed = lambda group: POLYMARKET.feed(group, credentials=self.credentials)  # noqa: E731
        clob = ClobIntake(process.recorder, "polymarket", tapes[0], feed, process.head("polymarket", "clob", {}))
        price = PriceIntake(process.recorder, "polymarket", tapes[1], feed, process.head("polymarket", "price", {}))
        shelf = Shelf(process.recorder, self.folder, self.windows, clob, process.head("polymarket", "window", {}))
        for intake in (clob, price):
            intake.shelf, intake.windows = shelf, self.windows
        price.clob = clob
        self._resume(process.earlier)
        process.recorder.start(asyncio.get_running_loop())
        (group,) = POLYMARKET.groups(settings.coins, ["clob"], self.sockets)
        books = process.pool(group, clob, fetcher)
        clob.act = books.act
        source = PriceSource(self.sources, price, lambda name: self._price_pool(process, name, price, fetcher))
        source.begin(process.recorder.begun)
        process.supervisor.add("book check", BookCheck(self.hosts["clob"], clob, settings.check_every_s).run)
        chain = ChainCheck(settings.rpc or (), clob)
        process.supervisor.add("chain check", chain.run)
        process.on_second.append(lambda: self._second(process, books, clob, shelf))
        process.on_second.append(lambda: source.tick(process.recorder.clock.now()))
        try:
            return await process.run()
        finally:
            for window in list(shelf.open.values()):
                window.tape.close()

    def _price_pool(self, process: Process, name: str, price: PriceIntake, fetcher: Fetcher) -> Pool:
        (group,) = POLYMARKET.groups(self.settings.coins, [name], self.sockets)
        process.pools[:] = [pool for pool in process.pools if not pool.stopping or pool.open]
        return process.pool(group, price, fetcher)

    def _second(self, process: Process, pool: Pool, clob: ClobIntake, shelf: Shelf) -> None:
        t = process.recorder.clock.now()
        if commands := self.windows.tick(t):
            clob.act("clob-0", [command for command in commands if not isinstance(command, Mark)])
        for life in self.windows.wanted(t):
            if life.window.slug not in shelf.open:
                shelf.begin(life)
        for life in self.windows.over(t):
            slug = life.window.slug
            if not life.result and slug in shelf.open:
                shelf.mark(slug, "tape", "result", {"outcome": "", "source": "none", "ts": t})
            if path := shelf.end(slug):
                process.recorder.sealed.append(path)
        names = clob.names()
        if names != self._told:
            self._told = names
            for s in list(pool.open):
                feed = clob.feed(s)
                if feed is not None:
                    clob.commands(s, feed.want(t, names)[1])

    def _resume(self, earlier: int) -> None:
        """Windows of an earlier run whose result may still come: their files are gone on with."""
        for path in self.folder.glob("*.jsonl"):
            try:
                window = parse(path.name.removesuffix(".jsonl"))
            except SettingsError:
                continue
            if window.end + self.settings.linger_s > earlier / 1_000_000_000 and b'"mark":"seal"' not in (last_line(path) or b""):
                self.windows.lives.setdefault(window.slug, Life(window))


def _credentials() -> tuple[str, str, str] | None:
    key, secret, passphrase = (os.environ.get(f"POLY_API_{name}", "") for name in ("KEY", "SECRET", "PASSPHRASE"))
    if not (key or secret or passphrase):
        return None
    if not (key and secret and passphrase):
        raise SettingsError("PolyBolt needs all of POLY_API_KEY, POLY_API_SECRET and POLY_API_PASSPHRASE; set the missing one, or none")
    return key, secret, passphrase
