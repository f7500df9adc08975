"""Shapes of the wire: real frames whole, price texts in one spelling, numbers without a digit lost."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.venues.polymarket import wire
from tests.collectors.venues.polymarket.frames import real
from tests.support.captures import captures


@pytest.mark.captures
def test_every_real_frame_has_a_known_kind() -> None:
    frames = real(captures())
    assert len(frames) >= 20
    kinds = {name: wire.kind(wire.event(frame)) for name, frame in frames}
    assert "" not in kinds.values()
    assert kinds["ws_quotes.json"] == "price_change" and kinds["ws_book_snapshot.json"] == "book"


def test_levels_are_best_first_whatever_came() -> None:
    rows = [wire.PriceSize(p, "1") for p in ("0.2", ".48", "0.1", "0.480", "0.3")]
    assert [at for at, _ in wire.levels(rows, best_high=True)] == ["0.48", "0.48", "0.3", "0.2", "0.1"]
    assert [at for at, _ in wire.levels(rows[:3], best_high=False)] == ["0.1", "0.2", "0.48"]
    assert wire.levels(None, best_high=True) == []


@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_a_price_has_one_spelling(units: int, places: int, before: int, after: int, bare: bool) -> None:
    plain = format(Decimal(units).scaleb(-places), "f")
    spelled = "0" * before + plain + ("0" * after if "." in plain else "")
    spelled = spelled.lstrip("0") if bare and spelled.lstrip("0").startswith(".") else spelled
    one = wire.price(spelled)
    assert Decimal(one) == Decimal(plain) and one == wire.price(plain) == wire.price(one)
    assert not one.startswith(".") and (("." not in one) or not one.endswith(("0", ".")))


@given(st.integers(-(10**40), 10**40), st.integers(-20, 20))
def test_scaling_loses_no_digit(number: int, exponent: int) -> None:
    with localcontext() as context:
        context.prec = 200
        wanted = Decimal(number).scaleb(exponent)
        assert Decimal(wire.decimal(str(number), exponent)) == wanted
        assert Decimal(wire.decimal(f"{number}e{exponent}")) == wanted


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_0", " 1", "1 ", "0x1", ".", "1.", "--1", "٣", "1" * 121, "1e1000"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        wire.decimal(text)


def test_lists_of_gamma_come_in_two_forms() -> None:
    assert wire.listed('["Up", "Down"]') == wire.listed(["Up", "Down"]) == ["Up", "Down"]
    assert [wire.listed(value) for value in (None, "", "[", "{}", 5, "null", "[" * 100_000)] == [[]] * 7


@pytest.mark.parametrize(
    ("text", "ns"), [("1786728432337", 1786728432337 * 10**6), (5, 5 * 10**6), ("", 0), ("-1", 0), ("٣", 0), ("9" * 20, 0)]
)
def test_timestamps(text: str | int, ns: int) -> None:
    assert wire.milliseconds(text) == ns
