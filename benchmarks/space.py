"""How much disk a reader needs: a week of 15-minute windows of BTC and ETH, archived on one machine and read from another.
``python -m benchmarks.space`` (make bench-space).

Windows are the simulator's: its market channel and reference prices, every frame a line, at a pace that makes a window about as large as the
brief's (500 MB a day of both coins). ``BENCH_WINDOWS`` distinct ones of each coin are made and archived by the real archiver; the week
repeats them under its own names, so sizes are those of that many. The reader is a ``DataAccessor`` with the default cache.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from tape_access import DataAccessor
from tape_archive import human
from tape_archive.archiver.move import Mover
from tape_archive.archiver.plan import Move, month
from tape_archive.format import manifest
from tape_archive.format.compression import Compression
from tape_archive.format.lines import frame_line, mark_line
from tape_archive.format.tape import register
from tape_archive.stores import LocalStore
from tape_collectors.simulator.faults import Faults
from tape_collectors.simulator.polymarket import Polymarket
from tape_collectors.simulator.polymarket_rest import dumps
from tape_collectors.simulator.windows import Window

SECOND = 1_000_000_000
LENGTH, LEAD = 900, 60
WEEK = 7 * 96
COINS = ("btc", "eth")
#: 2026-01-05T00:00:00Z
FIRST = 1_767_571_200
#: steps of the market in a second of a window
PACE = 6


class Written(Polymarket):
    """The venue without a wire: what it would send is written down."""

    def __init__(self) -> None:
        super().__init__(Faults())
        self.at = 0.0
        self.now = lambda: self.at
        self.lines: list[bytes] = []

    def _tell(self, window: Window, stream: str, frame: str, token: str = "", custom: bool = False) -> None:
        self._write("clob-1", frame)

    def _write(self, s: str, frame: str) -> None:
        self.lines.append(frame_line(round(self.at * SECOND) + len(self.lines), s, frame.encode()))

    def live(self, slug: str) -> bytes:
        """The tape of one window."""
        self.at = float(int(slug.rpartition("-")[2]) - LEAD)
        window = self.window(slug)
        assert window is not None
        market = {"slug": slug, "start": window.start, "end": window.end, "coin": window.coin, "timeframe": "15m"}
        head = {"format": 1, "venue": "polymarket", "stream": slug, "run": "bench", "window": market | {"tokens": [window.up, window.down]}}
        self.lines = [mark_line(round(self.at * SECOND), "tape", "tape", head)]
        self._write(
            "clob-1", dumps([{**self.book(token), **self.details(token), "event_type": "book"} for token in (window.up, window.down)])
        )
        for step in range((LENGTH + LEAD) * PACE):
            self.at = window.start - LEAD + step / PACE
            if window.random.random() < 0.3:
                self._move(window, self.at, int(self.at * 1000))
            if not step % PACE:
                self._price(window.coin)
        self.lines.append(
            mark_line((window.end + 60) * SECOND, "tape", "result", {"outcome": "Up" if window.up_won else "Down", "final": True})
        )
        self.lines.append(mark_line((window.end + 60) * SECOND + 1, "tape", "seal", {"lines": len(self.lines)}))
        return b"".join(self.lines)

    def _price(self, coin: str) -> None:
        for topic, symbol in (("crypto_prices", f"{coin}usdt"), ("crypto_prices_chainlink", f"{coin}/usd")):
            payload = self.rtds._payload(topic, symbol, int(self.at))
            self._write("rtds-1", dumps({"payload": payload, "timestamp": int(self.at * 1000), "topic": topic, "type": "update"}))


def slug(coin: str, number: int) -> str:
    """Of the n-th window of the week."""
    return f"{coin}-updown-15m-{FIRST + number * LENGTH}"


def archive(root: Path, distinct: int) -> tuple[int, int]:
    """The week in ``root/real_archive``; gives its bytes plain and archived."""
    hot, venue = root / "real_hot", Written()
    hot.mkdir(parents=True)
    moves = []
    for coin in COINS:
        for number in range(distinct):
            path = hot / f"{slug(coin, number)}.jsonl"
            path.write_bytes(venue.live(slug(coin, number)))
            register(path)
            moves.append(Move(path.name, path.stat().st_size, month(FIRST + number * LENGTH)))
    Mover(hot, LocalStore(root / "real_archive"), "", Compression()).move(moves, lambda moved: None)
    entries: dict[Path, dict[str, manifest.Entry]] = {}
    for number in range(WEEK):
        folder = root / "real_archive" / month(FIRST + number * LENGTH)
        made = root / "real_archive" / month(FIRST + number % distinct * LENGTH)
        known = entries.setdefault(made, manifest.read(made))
        for coin in COINS:
            name, like = f"{slug(coin, number)}.jsonl.zst", f"{slug(coin, number % distinct)}.jsonl.zst"
            if name != like:
                os.link(made / like, folder / name)
                known[name] = replace(known[like], name=name)
    for folder, known in entries.items():
        (folder / manifest.NAME).write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in known.values()))
    every = [entry for known in entries.values() for entry in known.values()]
    assert len(every) == WEEK * len(COINS)
    return sum(entry.plain_bytes for entry in every), sum(entry.bytes for entry in every)


def used(folder: Path) -> int:
    """Bytes on the disk below a folder."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def patterns(chance: random.Random) -> dict[str, list[str]]:
    """Work on the last day; every day the day before, and some of any day; the whole week, twice."""
    last = [slug(coin, number) for coin in COINS for number in range(WEEK - 96, WEEK)]
    daily = [slug("btc", number) for day in range(6) for _ in range(3) for number in range(day * 96, day * 96 + 96)]
    looks = [slug(chance.choice(COINS), chance.randrange(WEEK)) for _ in range(50)]
    whole = [slug(coin, number) for coin in COINS for number in range(WEEK)]
    return {
        "the last day of both, ten times": last * 10,
        "each day of BTC three times, 50 looks": daily + looks,
        "the whole week of both": whole,
    }


def main() -> None:
    distinct = int(os.environ.get("BENCH_WINDOWS", "16"))
    with tempfile.TemporaryDirectory(prefix="tape-space-") as name:
        folder = Path(name)
        plain, cold = archive(folder / "vps", distinct)
        count = WEEK * len(COINS)
        print(
            f"a week: {count:,} windows ({distinct * len(COINS)} distinct), {human.size(plain)} plain ({plain / count / 1e6:.2f} MB each),"
        )
        print(f"{human.size(cold)} archived ({plain / cold:.1f} x smaller)\n")
        print(f"{'':42}{'on the Mac':>12}{'of a plain copy':>17}{'of an archive copy':>20}{'a window':>11}")
        for at, (what, slugs) in enumerate(patterns(random.Random(1)).items()):
            cache = folder / f"mac-{at}"
            most, begun = 0, time.perf_counter()
            with DataAccessor(folder / "nothing", cache, remote=LocalStore(folder / "vps")) as data:
                for number, one in enumerate(slugs):
                    data.get_window_jsonl(one)
                    if number % 64 == 63:
                        most = max(most, used(cache))
                spent = (time.perf_counter() - begun) / len(slugs)
                stats: dict[str, Any] = data.get_cache_stats()
            most = max(most, used(cache))
            print(f"{what:42}{human.size(most):>12}{most / plain:>16.1%} {most / cold:>19.1%}{spent * 1000:>8.1f} ms")
        bound = stats["max_size_mb"] * 2**20
        print(
            f"\nthe cache never holds more than {human.size(round(bound))}: nine tenths of a plain copy are saved from {bound * 10 / plain:.1f} weeks on,"
        )
        print(f"{1 - bound / (plain * 365 / 7):.1%} of a year")


if __name__ == "__main__":
    main()
