"""Independent looks at what the stream says: books by ``py-clob-client``, results on chain by ``web3``. Both run in threads, off the
hot path.

A level is called different only if REST's size is neither what we had before asking nor what we have after, and we did not touch it
meanwhile:
a book that moves is not an error. The REST book may be a stale ghost (sheet section 7): a difference is a mark, nothing is changed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.polymarket.depth import AssetBook
from tape_collectors.venues.polymarket.feed import ClobFeed
from tape_collectors.venues.polymarket.wire import price
from tape_collectors.windows.tapes import ClobIntake

log = logging.getLogger(__name__)

CTF = "0x4D97DCd97eC945f40cF65F87097ACe5EA0476045"
RESOLUTION = "0xb44d84d3289691f71497564b85d4233648d9dbae8cbdbb4329f301c3a0185894"
_TIMEOUT_S = 20.0
_LOG_BLOCKS = 9_000

Sizes = dict[tuple[str, str], str]


class BookCheck:
    """After each (re)connect and every ``every_s`` seconds: the venue's REST books against ours."""

    def __init__(self, host: str, clob: ClobIntake, every_s: float) -> None:
        self.checked = 0
        self.differences = 0
        self._host = host
        self._clob = clob
        self._every = every_s
        self._client: Any = None
        self._seen: set[str] = set()

    async def run(self) -> None:
        """For ever."""
        try:
            self._client = await asyncio.to_thread(_client, self._host)
        except SettingsError as error:
            log.warning("books are not checked against REST", extra={"why": str(error)})
            await asyncio.Event().wait()
        last = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            new = [s for s in self._clob.shelf.epochs if s not in self._seen and self._ready(s)]
            if new or (self._every > 0 and now - last >= self._every):
                last = now
                self._seen = set(self._clob.shelf.epochs)
                await self.check(new[0] if new else next(iter(self._seen), ""))

    def _ready(self, s: str) -> bool:
        feed = self._clob.feed(s)
        return isinstance(feed, ClobFeed) and bool(feed.books) and feed.ready()

    async def check(self, s: str) -> None:
        """Compare every proven book of one epoch."""
        feed = self._clob.feed(s)
        if not isinstance(feed, ClobFeed):
            return
        before = {asset: _sizes(book) for asset, book in feed.books.items() if book.live}
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                books = await asyncio.to_thread(_books, self._client, list(before))
        except Exception as error:
            # Whatever the client raises: it is a check beside the recording, and REST may be away.
            log.warning("cannot check the books", extra={"why": repr(error)[:200]})
            return
        for asset, theirs in books.items():
            book = feed.books.get(asset)
            if book is not None and book.live and asset in before:
                self.checked += 1
                self._compare(s, asset, before[asset], theirs, _sizes(book))

    def _compare(self, s: str, asset: str, before: Sizes, theirs: Sizes, after: Sizes) -> None:
        levels = [
            [side, at, before.get((side, at), "0"), theirs.get((side, at), "0")]
            for side, at in sorted(before.keys() | theirs.keys())
            if before.get((side, at)) == after.get((side, at)) and not _same(before.get((side, at)), theirs.get((side, at)))
        ]
        if levels:
            self.differences += 1
            fields = {"symbol": asset, "source": "py-clob-client", "levels": levels[:50], "count": len(levels)}
            slug = self._clob.shelf.tokens.get(asset, "")
            if slug in self._clob.shelf.open:
                self._clob.shelf.mark(slug, s, "diff", fields)
            log.warning("REST book differs", extra={"slug": slug, "levels": len(levels)})


def _same(one: str | None, other: str | None) -> bool:
    return float(one or 0) == float(other or 0)


def _sizes(book: AssetBook) -> Sizes:
    bids, asks = book.book.levels()
    return {("BUY", at): size for at, size in bids} | {("SELL", at): size for at, size in asks}


@contextmanager
def _limit_kept() -> Iterator[None]:
    """Importing web3 raises the recursion limit of the whole process to 100,000: what is nested so deep then overruns the stack."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _client(host: str) -> Any:
    try:
        with _limit_kept():
            from py_clob_client.client import ClobClient
    except ImportError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'tapeline[polymarket]'") from None
    return ClobClient(host)


def _books(client: Any, tokens: Sequence[str]) -> dict[str, Sizes]:
    with _limit_kept():
        from py_clob_client.clob_types import BookParams

    if not tokens:
        return {}
    out: dict[str, Sizes] = {}
    for book in client.get_order_books([BookParams(token_id=token) for token in tokens]):
        rows = [("BUY", row) for row in book.bids] + [("SELL", row) for row in book.asks]
        out[book.asset_id] = {(side, price(row.price)): row.size for side, row in rows}
    return out


class Resolution(msgspec.Struct):
    """What the conditional-token contract says of a condition."""

    payouts: list[int]
    block: int
    tx: str
    oracle: str
    rpc: str


class ChainCheck:
    """Confirms results on chain, if RPC addresses are given: payouts by call, block and transaction from the log."""

    def __init__(self, rpc: Sequence[str], clob: ClobIntake, read: Callable[[str, str], Resolution | None] | None = None) -> None:
        self.confirmed = 0
        self._rpc = list(rpc)
        self._clob = clob
        self._read = read or read_chain
        self._asked: set[str] = set()

    async def run(self) -> None:
        """Look at every window that has ended, until the chain has it."""
        while True:
            await asyncio.sleep(1.0)
            if not self._rpc:
                await asyncio.Event().wait()
            now = self._clob.recorder.clock.now() / 1_000_000_000
            for slug, window in list(self._clob.shelf.open.items()):
                life = window.life
                if life.facts and slug not in self._asked and now > life.window.end and life.result:
                    await self._confirm(slug, life.facts.condition)

    async def _confirm(self, slug: str, condition: str) -> None:
        for address in list(self._rpc):
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    found = await asyncio.to_thread(self._read, address, condition)
            except Exception as error:
                # Any failure of a public node: the next one is asked, this one goes last.
                log.warning("RPC failed", extra={"rpc": address, "why": repr(error)[:200]})
                self._rpc.append(self._rpc.pop(0))
                continue
            if found is not None and slug in self._clob.shelf.open:
                self._asked.add(slug)
                self._clob.shelf.open[slug].life.confirmed = True
                self.confirmed += 1
                self._clob.shelf.mark(slug, "tape", "chain", msgspec.structs.asdict(found))
            return


def read_chain(address: str, condition: str) -> Resolution | None:
    """The resolution of a condition, or None if the chain has none yet. Raises whatever web3 raises."""
    with _limit_kept():
        from web3 import HTTPProvider, Web3
        from web3.middleware import ExtraDataToPOAMiddleware

    web3 = Web3(HTTPProvider(address, request_kwargs={"timeout": _TIMEOUT_S / 2}))
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    contract = Web3.to_checksum_address(CTF)
    raw = bytes.fromhex(condition.removeprefix("0x"))

    def call(selector: str, *words: bytes) -> int:
        data = "0x" + selector + b"".join(words).hex()
        return int.from_bytes(web3.eth.call({"to": contract, "data": data}), "big")  # type: ignore[typeddict-item]

    if not call("dd34de67", raw):
        return None
    payouts = [call("0504c814", raw, index.to_bytes(32, "big")) for index in range(2)]
    head = web3.eth.block_number
    logs = web3.eth.get_logs(
        {"address": contract, "topics": [RESOLUTION, condition], "fromBlock": max(0, head - _LOG_BLOCKS), "toBlock": head}
    )
    if not logs:
        return Resolution(payouts, 0, "", "", address)
    found = logs[-1]
    oracle = "0x" + bytes(found["topics"][2]).hex()[-40:]
    return Resolution(payouts, int(found["blockNumber"]), "0x" + bytes(found["transactionHash"]).hex().removeprefix("0x"), oracle, address)
