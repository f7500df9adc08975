"""Windows of the up/down markets: slug <-> coin, time frame, start and end.

Rules (project's sheet, section 1.1, read 2026-11-20):

1. 5m and 15m: ``{coin}-updown-{5m|15m}-{epoch}``; the epoch is the start, a multiple of the length in UTC.
2. 4h: ``{coin}-updown-4h-{epoch}``; blocks of four hours of *US Eastern* time, so off the UTC grid in winter.
3. 1h: ``{name}-up-or-down-{month}-{day}-{year}-{h}{am|pm}-et``; the year was absent in 2025.
4. 1d: ``{name}-up-or-down-on-{month}-{day}-{year}``; noon to noon Eastern, named by its end.
5. On the day when clocks go back two UTC hours share one Eastern label and so one 1h slug: it is read as the first of them, and
   Gamma's ``eventStartTime`` says which one it is (``windows.Windows`` follows Gamma). Blocks of 4h across a change of the
   clocks last 3 or 5 hours.
6. ``{n}s`` is a length of the simulator only, named like 15m.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo

import msgspec

from tape_archive.format.errors import SettingsError

SECOND = 1_000_000_000
EASTERN = ZoneInfo("America/New_York")
NAMES = {
    "btc": "bitcoin",
    "eth": "ethereum",
    "sol": "solana",
    "xrp": "xrp",
    "doge": "dogecoin",
    "bnb": "bnb",
    "hype": "hype",
    "zec": "zcash",
}
COINS = tuple(NAMES)
_COINS = {name: coin for coin, name in NAMES.items()}
TIMEFRAMES = ("5m", "15m", "1h", "4h", "1d")
_LENGTHS = {"5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
_ZEC = ("5m", "15m", "4h")


class Window(msgspec.Struct, frozen=True, order=True):
    """One market's time. ``start`` and ``end`` in unix seconds."""

    start: int
    end: int
    coin: str
    timeframe: str
    slug: str


def check(coin: str, timeframe: str) -> None:
    """Raise SettingsError, with the nearest valid one, for a coin or time frame that has no windows."""
    if coin not in COINS:
        near = get_close_matches(coin, [*COINS, *NAMES.values()], n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"unknown coin {coin!r}{hint} (known: {', '.join(COINS)})")
    if timeframe not in TIMEFRAMES and not re.fullmatch(r"[1-9]\d{0,4}s", timeframe):
        near = get_close_matches(timeframe, TIMEFRAMES, n=1, cutoff=0.1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"unknown time frame {timeframe!r}{hint} (known: {', '.join(TIMEFRAMES)})")
    if coin == "zec" and timeframe in TIMEFRAMES and timeframe not in _ZEC:
        raise SettingsError(f"zec has no {timeframe} windows (only {', '.join(_ZEC)})")


def length(timeframe: str) -> int:
    """Nominal seconds of a window."""
    return _LENGTHS.get(timeframe) or int(timeframe.removesuffix("s"))


def at(coin: str, timeframe: str, second: int) -> Window:
    """The window that holds a unix second. Raises SettingsError for what does not exist."""
    check(coin, timeframe)
    if timeframe == "4h":
        return _four_hours(coin, second)
    if timeframe == "1h":
        start = second // 3600 * 3600
        return Window(start, start + 3600, coin, timeframe, _hour_slug(coin, start))
    if timeframe == "1d":
        return _day(coin, second)
    size = length(timeframe)
    start = second // size * size
    return Window(start, start + size, coin, timeframe, f"{coin}-updown-{timeframe}-{start}")


def following(coin: str, timeframe: str, second: int, count: int) -> list[Window]:
    """The window that holds ``second`` and the next ones, ``count`` in all."""
    out = [at(coin, timeframe, second)]
    while len(out) < count:
        out.append(at(coin, timeframe, out[-1].end))
    return out


def parse(slug: str) -> Window:
    """The window that a slug names. Raises SettingsError."""
    if match := re.fullmatch(r"([a-z]+)-updown-(5m|15m|4h|[1-9]\d{0,4}s)-(\d{1,11})", slug):
        window = at(match[1], match[2], int(match[3]))
        if window.slug == slug:
            return window
    elif match := re.fullmatch(r"([a-z]+)-up-or-down-([a-z]+)-(\d{1,2})(?:-(\d{4}))?-(\d{1,2})(am|pm)-et", slug):
        hour = int(match[5]) % 12 + (12 if match[6] == "pm" else 0)
        start = _eastern(match[2], match[3], match[4] or "2025", hour)
        if start is not None and match[1] in _COINS and (window := at(_COINS[match[1]], "1h", start)).slug == slug:
            return window
    elif match := re.fullmatch(r"([a-z]+)-up-or-down-on-([a-z]+)-(\d{1,2})-(\d{4})", slug):
        end = _eastern(match[2], match[3], match[4], 12)
        if end is not None and match[1] in _COINS and (window := at(_COINS[match[1]], "1d", end - 1)).slug == slug:
            return window
    raise SettingsError(f"{slug[:120]!r} names no up/down window (expected e.g. btc-updown-15m-1767507300)")


def _eastern(month: str, day: str, year: str, hour: int) -> int | None:
    if month not in _MONTHS:
        return None
    try:
        return int(datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, tzinfo=EASTERN).timestamp())
    except ValueError:
        return None


def _four_hours(coin: str, second: int) -> Window:
    local = datetime.fromtimestamp(second, EASTERN)
    first = local.replace(hour=local.hour // 4 * 4, minute=0, second=0, microsecond=0, fold=0)
    start = int(first.timestamp())
    end = int((first.replace(tzinfo=None) + timedelta(hours=4)).replace(tzinfo=EASTERN).timestamp())
    return Window(start, end, coin, "4h", f"{coin}-updown-4h-{start}")


def _hour_slug(coin: str, start: int) -> str:
    local = datetime.fromtimestamp(start, EASTERN)
    year = f"-{local.year}" if local.year >= 2026 else ""
    half = "am" if local.hour < 12 else "pm"
    return f"{NAMES[coin]}-up-or-down-{_MONTHS[local.month - 1]}-{local.day}{year}-{local.hour % 12 or 12}{half}-et"


def _day(coin: str, second: int) -> Window:
    local = datetime.fromtimestamp(second, EASTERN)
    noon = local.replace(hour=12, minute=0, second=0, microsecond=0, fold=0)
    if local < noon:
        begin, end = noon.replace(tzinfo=None) - timedelta(days=1), noon.replace(tzinfo=None)
    else:
        begin, end = noon.replace(tzinfo=None), noon.replace(tzinfo=None) + timedelta(days=1)
    slug = f"{NAMES[coin]}-up-or-down-on-{_MONTHS[end.month - 1]}-{end.day}-{end.year}"
    start_s, end_s = (int(one.replace(tzinfo=EASTERN).timestamp()) for one in (begin, end))
    return Window(start_s, end_s, coin, "1d", slug)


def seconds(text: str) -> int:
    """Unix seconds of Gamma's times: ISO-8601 with ``Z``, or ``2026-07-24 00:10:52+00``. 0 for anything else."""
    text = text.strip().replace("Z", "+00:00").replace(" ", "T")
    if re.search(r"[+-]\d\d$", text):
        text += ":00"
    try:
        moment = datetime.fromisoformat(text)
        return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))
    except (ValueError, OverflowError):
        return 0
