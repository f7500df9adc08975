"""Each rule of ``feed``, ``symbols`` and ``route`` taken away once: its test must fail (those of the others stand with their tests)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.polymarket import feed, route, symbols
from tape_collectors.venues.polymarket.feed import ClobFeed
from tape_collectors.venues.polymarket.route import Router, Union
from tape_collectors.venues.polymarket.symbols import Window
from tape_collectors.venues.protocol import NOTHING
from tests.collectors.venues.polymarket import test_feed, test_route, test_symbols


def _utc_blocks(coin: str, second: int) -> Window:
    start = second // 14_400 * 14_400
    return Window(start, start + 14_400, coin, "4h", f"{coin}-updown-4h-{start}")


def _always_four_hours(coin: str, second: int, real: Any = symbols._four_hours) -> Window:
    one = real(coin, second)
    return Window(one.start, one.start + 14_400, coin, "4h", one.slug)


def _no_year(coin: str, start: int, real: Any = symbols._hour_slug) -> str:
    return str(real(coin, start)).replace("-2026", "")


def _midnight(coin: str, second: int, real: Any = symbols._day) -> Window:
    one = real(coin, second)
    return Window(one.start - 43_200, one.end - 43_200, coin, "1d", one.slug)


def _known(slug: str, start: int, end: int) -> Callable[[], None]:
    return lambda: test_symbols.test_known_slugs(slug, start, end)


#: rule -> (its test, where, name, what stands there without the rule)
OFF: dict[str, tuple[Callable[[], None], Any, str, Any]] = {
    "feed 1: the first frame has a type": (
        test_feed.test_one_window_a_frame_and_only_the_first_has_a_type,
        ClobFeed,
        "_subscribe",
        lambda self, t, tokens: feed._operation("subscribe", tokens),
    ),
    "feed 2: PING": (test_feed.test_a_ping_every_ten_seconds, feed, "PING_NS", 1 << 62),
    "feed 3: a book for every asset": (
        test_feed.test_an_asset_without_a_book_is_asked_for_alone,
        ClobFeed,
        "_overdue",
        lambda self, t: [],
    ),
    "feed 3: a connection of no use": (test_feed.test_a_connection_without_books_is_given_up, feed, "TRIES", 10**9),
    "feed 4: only if none came by itself": (test_feed.test_a_lost_book_is_asked_for_only_if_none_comes_by_itself, feed, "BOOK_S", 0),
    "feed 4: not at the same time": (
        test_feed.test_a_lost_book_is_asked_for_only_if_none_comes_by_itself,
        ClobFeed,
        "opened",
        lambda self, t: NOTHING,
    ),
    "symbols 1: the grid of UTC": (
        _known("btc-updown-15m-1767507300", 1767507300, 1767508200),
        symbols,
        "_LENGTHS",
        symbols._LENGTHS | {"15m": 960},
    ),
    "symbols 2: blocks of Eastern time": (_known("btc-updown-4h-1763485200", 1763485200, 1763499600), symbols, "_four_hours", _utc_blocks),
    "symbols 3: the year": (_known("bitcoin-up-or-down-june-3-2026-3am-et", 1780470000, 1780473600), symbols, "_hour_slug", _no_year),
    "symbols 4: noon": (_known("ethereum-up-or-down-on-june-4-2026", 1780502400, 1780588800), symbols, "_day", _midnight),
    "symbols 5: clocks that change": (
        lambda: test_symbols.test_windows_tile_the_days_when_clocks_change("4h", test_symbols.CHANGES[0]),
        symbols,
        "_four_hours",
        _always_four_hours,
    ),
    "symbols 6: the simulator's lengths": (
        _known("btc-updown-30s-1767507300", 1767507300, 1767507330),
        symbols,
        "length",
        lambda timeframe: 900,
    ),
    "route: a frame of one window goes there": (
        test_route.test_a_frame_of_one_window_goes_there_whole,
        Router,
        "_key",
        lambda self, data: "",
    ),
    "route: whole, and in parts": (
        test_route.test_an_array_of_several_windows_is_filed_whole_and_in_parts,
        route,
        "_piece",
        lambda parts, numbers: (numbers[0], parts[numbers[0]]),
    ),
    "route: a window that is closed": (
        test_route.test_a_resolution_of_ours_goes_to_our_window_and_a_removed_window_gets_nothing,
        Router,
        "remove",
        lambda self, slug: None,
    ),
    "union: doubles of redundant sockets": (
        test_route.test_two_lossy_sockets_make_one_whole_tape,
        Union,
        "seen",
        lambda self, s, t, data: False,
    ),
    "union: nothing from before the socket": (
        test_route.test_what_one_socket_alone_had_before_a_reconnect_does_not_hide_the_book_after_it,
        Union,
        "opened",
        lambda self, s, t: self._opened.setdefault(s, 0),
    ),
}


@pytest.mark.parametrize("rule", OFF)
def test_each_rule(rule: str) -> None:
    OFF[rule][0]()


@pytest.mark.parametrize("rule", OFF)
def test_without_the_rule_its_test_fails(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prove, where, name, broken = OFF[rule]
    monkeypatch.setattr(where, name, broken)
    with pytest.raises((AssertionError, SettingsError, StopIteration)):
        prove()
