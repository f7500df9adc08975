"""Slugs and windows: identity, tiling across changes of the clock, and the real slugs of the sheet."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.polymarket.symbols import COINS, TIMEFRAMES, at, following, length, parse, seconds
from tests.support.captures import captures

# 2025-01-01 .. 2033-01-01; every year has two changes of the clock.
moments = st.integers(1_735_707_600, 1_988_168_400)
KINDS = [(coin, timeframe) for coin in COINS for timeframe in (*TIMEFRAMES, "30s") if coin != "zec" or timeframe not in ("1h", "1d")]
#: 2026: forward on 8 March 07:00 UTC, back on 1 November 06:00 UTC
CHANGES = (1_772_953_200, 1_793_512_800, 1_762_063_200)


@given(st.sampled_from(KINDS), moments)
def test_a_window_holds_its_moment_and_its_slug_names_it(kind: tuple[str, str], second: int) -> None:
    window = at(*kind, second)
    assert window.start <= second < window.end
    again = parse(window.slug)
    if again != window:
        # The hour that comes twice: its slug means the first one.
        assert kind[1] == "1h" and again.end == window.start and again.slug == window.slug


@given(st.sampled_from(KINDS), moments)
def test_windows_tile_time(kind: tuple[str, str], second: int) -> None:
    row = following(*kind, second, 4)
    assert all(one.end == other.start for one, other in zip(row, row[1:], strict=False))
    for window in row:
        assert at(*kind, window.start) == at(*kind, window.end - 1) == window


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_windows_tile_the_days_when_clocks_change(timeframe: str, change: int) -> None:
    window, slugs = at("btc", timeframe, change - 100_000), []
    while window.start < change + 100_000:
        nominal, real = length(timeframe), window.end - window.start
        assert real == nominal or (timeframe in ("4h", "1d") and abs(real - nominal) == 3600)
        slugs.append(window.slug)
        nxt = at("btc", timeframe, window.end)
        assert nxt.start == window.end
        window = nxt
    doubled = len(slugs) - len(set(slugs))
    assert doubled == (1 if timeframe == "1h" and change != CHANGES[0] else 0)


@pytest.mark.parametrize(
    ("slug", "start", "end"),
    [
        ("btc-updown-4h-1780459200", 1780459200, 1780473600),
        ("btc-updown-4h-1763485200", 1763485200, 1763499600),
        ("btc-updown-4h-1770483600", 1770483600, 1770498000),
        ("bitcoin-up-or-down-june-3-2026-3am-et", 1780470000, 1780473600),
        ("bitcoin-up-or-down-june-3-3am-et", 1748934000, 1748937600),
        ("ethereum-up-or-down-on-june-4-2026", 1780502400, 1780588800),
        ("btc-updown-15m-1767507300", 1767507300, 1767508200),
        ("btc-updown-30s-1767507300", 1767507300, 1767507330),
    ],
)
def test_known_slugs(slug: str, start: int, end: int) -> None:
    window = parse(slug)
    assert (window.start, window.end, window.slug) == (start, end, slug)


@pytest.mark.parametrize(
    "slug",
    [
        *("", "btc-updown-15m-1767507301", "btc-updown-15m-01767507300", "btc-updown-4h-1780462800", "btc-updown-4h-99999999999"),
        *("xyz-updown-5m-1767507300", "zcash-up-or-down-june-3-2026-3am-et", "bitcoin-up-or-down-june-03-2026-3am-et"),
        *("bitcoin-up-or-down-june-3-2026-13am-et", "bitcoin-up-or-down-june-3-2026-0am-et", "bitcoin-up-or-down-june-31-2026-3am-et"),
        *("bitcoin-up-or-down-march-8-2026-2am-et", "bitcoin-up-or-down-smarch-3-2026-3am-et", "bitcoin-up-or-down-on-june-04-2026"),
        *(
            "btc-updown-0s-5",
            "btc-updown-5m-١٧٦٧٥٠٧٣٠٠",
            "../../etc/passwd",
            "btc-updown-5m-1767507300\n",
            "bitcoin-up-or-down-june-3-0000-3am-et",
        ),
    ],
)
def test_what_names_no_window_is_refused(slug: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(slug)
    assert "\n" not in str(caught.value)


@given(st.one_of(st.text(max_size=60), st.from_regex(r"(btc|zcash|bitcoin)-up(down|-or-down(-on)?)-[a-z0-9-]{1,40}", fullmatch=True)))
def test_any_text_is_a_window_or_refused(slug: str) -> None:
    try:
        assert parse(slug).slug == slug
    except SettingsError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("coin", "timeframe", "near"), [("bitcoin", "15m", "bitcoin"), ("btx", "15m", "'btc'"), ("btc", "15", "'15m'"), ("zec", "1h", "5m")]
)
def test_settings_name_the_nearest(coin: str, timeframe: str, near: str) -> None:
    with pytest.raises(SettingsError, match=near):
        at(coin, timeframe, 0)


def test_times_as_gamma_writes_them() -> None:
    assert seconds("2026-07-24 00:10:52+00") == seconds("2026-07-24T00:10:52Z") == seconds("2026-07-24T00:10:52.04429Z") == 1784851852
    assert [seconds(text) for text in ("", "soon", "2026-13-01", "0001-01-01T00:00:00+23:59")] == [0, 0, 0, 0]


@pytest.mark.captures
def test_real_markets_are_the_windows_of_their_slugs() -> None:
    path = captures() / "polymarket/ligengxin96-polymarket-data-samples/BTC-5m-markets-2026-06-08.jsonl.gz"
    with gzip.open(path) as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 292
    for row in rows:
        window = parse(row["slug"])
        assert (window.start, window.end) == (row["start_sec"], row["end_sec"])
        assert (window.start, window.end) == (seconds(row["raw"]["eventStartTime"]), seconds(row["raw"]["endDate"]))
