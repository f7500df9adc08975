"""Streams over connections: the arithmetic, evenness, and as few moves as possible."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tape_collectors.market.balance import Plan, balance, connections


def names(n: int, kind: str = "s") -> list[str]:
    return [f"{kind}{at}" for at in range(n)]


def fits(plan: Plan, wanted: list[str], most: int) -> None:
    carried = [stream for streams in plan.values() for stream in streams]
    assert sorted(carried) == sorted(set(wanted)), "each stream once"
    assert len(plan) == connections(len(set(wanted)), most)
    sizes = [len(streams) for streams in plan.values()]
    assert not sizes or (max(sizes) <= most and max(sizes) - min(sizes) <= 1)


@given(st.lists(st.integers(0, 60), max_size=6), st.integers(1, 25))
def test_any_history_of_listings_is_even_and_the_arithmetic_says_how_many(steps: list[int], most: int) -> None:
    plan: Plan = {}
    for step, size in enumerate(steps):
        # Some go, some come: a window that slides over the names.
        wanted = [f"s{at}" for at in range(step * 7, step * 7 + size)]
        plan = balance(plan, wanted, most, "public")
        fits(plan, wanted, most)
        assert balance(plan, wanted, most, "public") == plan, "a plan that fits is left as it is"


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 40))
def test_no_more_moves_than_must(before: int, after: int, most: int) -> None:
    first = balance({}, names(before), most, "g")
    then = balance(first, names(after), most, "g")
    moved = sum(1 for name, streams in first.items() for s in streams if s in names(after) and s not in then.get(name, ()))
    staying = sorted((sum(s in names(after) for s in streams) for streams in first.values()), reverse=True)
    number = connections(after, most)
    share, larger = divmod(after, number)
    must = sum(staying[number:]) + sum(max(0, size - share - (at < larger)) for at, size in enumerate(staying[:number]))
    assert moved == must


def test_growing_and_shrinking() -> None:
    sizes = []
    plan: Plan = {}
    for symbols in (400, 800, 300):
        plan = balance(plan, names(symbols), 200, "public")
        sizes.append([len(streams) for streams in plan.values()])
    assert sizes == [[200, 200], [200, 200, 200, 200], [150, 150]]


def test_names() -> None:
    plan = balance({}, names(11), 4, "market")
    assert list(plan) == ["market", "market.2", "market.3"]
    smaller = balance(plan, names(4), 4, "market")
    again = balance(smaller, names(12), 4, "market")
    assert len(smaller) == 1 and len(again) == 3 and set(smaller) < set(again)
    assert all(one != other for one, other in pairwise(sorted(again)))


def test_none_wanted() -> None:
    assert balance({"g": ("a",)}, [], 5, "g") == {}
    assert balance({}, [], 5, "g") == {}


def test_the_one_that_carries_least_goes() -> None:
    current = {"g": ("a", "b"), "g.2": ("c", "d", "e"), "g.3": ("f",)}
    assert balance(current, list("abcdef"), 3, "g") == {"g": ("a", "b", "f"), "g.2": ("c", "d", "e")}
