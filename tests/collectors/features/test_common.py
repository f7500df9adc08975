"""What every feature class keeps: it can be pickled in the middle, knows nothing of what comes after, and equals itself in a replay."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tape_collectors.market.features as package
from tape_collectors.market.features import cvd, divergence, fusion, ofi, regimes, zscore
from tape_collectors.market.features.cvd import CVD
from tape_collectors.market.features.divergence import Conflict, Divergence, DivergenceSetup
from tape_collectors.market.features.fusion import Fusion, FusionSetup
from tape_collectors.market.features.ofi import BestOFI, IntegratedOFI, LevelsOFI, RankDifference
from tape_collectors.market.features.regimes import Regimes, RegimeSetup
from tape_collectors.market.features.zscore import DeltaSetup, DeltaZ, LevelZ
from tests.collectors.features.streams import books, trades

COUNT = 400
TRADES, BOOKS = trades(COUNT, 11), books(COUNT, 5, 12)
#: signed sizes, and z-scores that have something to say
DELTAS = [trade.size if trade.side == "buy" else -trade.size for trade in TRADES]
ZS = [(2.0 * delta, None if number % 17 == 0 else DELTAS[number - 1]) for number, delta in enumerate(DELTAS)]


def interval(measure: Any, number: int, event: object) -> tuple[object, object]:
    return event, measure.take() if number % 10 == 9 else None


def best(measure: BestOFI, number: int) -> object:
    (bids, asks), crossed = BOOKS[number], number % 97 == 50
    return interval(measure, number, measure.update(bids[0][0], bids[0][1], bids[0][0] if crossed else asks[0][0], asks[0][1]))


def ranks(measure: LevelsOFI, number: int) -> object:
    if number % 97 == 60:
        measure.reset()
    return interval(measure, number, measure.update(*BOOKS[number]))


def integrated(measure: IntegratedOFI, number: int) -> object:
    bids, asks = BOOKS[number]
    return measure.update([bids[at][1] - asks[at][1] if at < len(bids) else None for at in range(5)])


def traded(measure: CVD, number: int) -> object:
    trade = TRADES[number]
    if number % 61 == 60:
        measure.gap(trade.ts)
    return measure.update(trade.ts, trade.price, trade.size, "" if number % 5 == 0 else trade.side, id=number + 1 + number // 90)


def labelled(measure: Regimes, number: int) -> object:
    measure.update(TRADES[number].ts, TRADES[number].price)
    return measure.labels(TRADES[number].ts)


CASES: dict[str, tuple[Callable[[], Any], Callable[[Any, int], object]]] = {
    "best": (BestOFI, best),
    "levels": (lambda: LevelsOFI(5), ranks),
    "rank difference": (lambda: RankDifference(), lambda one, n: one.update(*BOOKS[n])),
    "integrated": (lambda: IntegratedOFI(40, 15), integrated),
    "cvd": (lambda: CVD("session"), traded),
    "level z": (lambda: LevelZ(60, holds=((2.0, 1),)), lambda one, n: one.update(TRADES[n].ts, TRADES[n].price)),
    "delta z": (DeltaZ, lambda one, n: one.update(TRADES[n].ts, DELTAS[n])),
    "delta z, average": (lambda: DeltaZ(DeltaSetup(scale="ewma")), lambda one, n: one.update(TRADES[n].ts, DELTAS[n])),
    "fusion": (lambda: Fusion(FusionSetup(score_window=90)), lambda one, n: one.update(TRADES[n].ts, *ZS[n], (n % 9) * 50_000_000)),
    "divergence": (
        lambda: Divergence("ofi", DivergenceSetup(side=3, nearest=2, warm_up=10, cooldown_s=2.0)),
        lambda one, n: one.update(TRADES[n].ts, TRADES[n].price, ZS[n][1], 0.5),
    ),
    "conflict": (Conflict, lambda one, n: one.update(TRADES[n].ts, TRADES[n].price, *ZS[n])),
    "regimes": (lambda: Regimes(RegimeSetup(window_s=20, every_s=5, history=30, least=5)), labelled),
}
cases = pytest.mark.parametrize("name", CASES)


def run(name: str, measure: Any, numbers: range) -> Iterator[str]:
    """What comes out, as text: what is changed later does not change it, and NaN equals itself."""
    feed = CASES[name][1]
    for number in numbers:
        yield repr(feed(measure, number))


def test_every_class_is_here() -> None:
    told = {type(make()) for make, _ in CASES.values()}
    modules = (ofi, cvd, zscore, fusion, divergence, regimes)
    found = {one for module in modules for one in vars(module).values() if isinstance(one, type) and hasattr(one, "update")}
    assert found == told
    assert package.__doc__


@cases
def test_streams_have_something_to_say(name: str) -> None:
    found = list(run(name, CASES[name][0](), range(COUNT)))
    assert len(set(found)) > 5


@cases
@settings(max_examples=12)
@given(cut=st.integers(0, COUNT), protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_one_that_was_pickled_in_the_middle_goes_on_equally(name: str, cut: int, protocol: int) -> None:
    whole = list(run(name, CASES[name][0](), range(COUNT)))
    first = CASES[name][0]()
    before = list(run(name, first, range(cut)))
    loaded = pickle.loads(pickle.dumps(first, protocol))
    assert before + list(run(name, loaded, range(cut, COUNT))) == whole
    assert list(run(name, first, range(cut, COUNT))) == whole[cut:], "pickling changed it"


@cases
def test_a_copy_is_another_one(name: str) -> None:
    first = CASES[name][0]()
    list(run(name, first, range(200)))
    other = copy.deepcopy(first)
    list(run(name, other, range(200, 300)))
    assert list(run(name, first, range(200, 300))) == list(run(name, CASES[name][0](), range(300)))[200:]


@cases
@settings(max_examples=12)
@given(cut=st.integers(1, COUNT - 1), other=st.integers(0, COUNT - 1))
def test_a_value_does_not_know_what_comes_after_it(name: str, cut: int, other: int) -> None:
    feed, objects, then = CASES[name][1], [], []
    measure = CASES[name][0]()
    for number in range(cut):
        objects.append(feed(measure, number))
        then.append(repr(objects[-1]))
    for number in range(other, COUNT):
        feed(measure, number)
    assert [repr(one) for one in objects] == then == list(run(name, CASES[name][0](), range(COUNT)))[:cut]


@pytest.mark.parametrize("name", ["levels", "rank difference"])
def test_inputs_may_be_changed_after_the_call(name: str) -> None:
    """A recorder reuses its buffers: what was given is not looked at again."""
    plain, kept = CASES[name][0](), CASES[name][0]()
    bids: list[tuple[float, float]] = []
    asks: list[tuple[float, float]] = []
    for book in BOOKS:
        bids[:], asks[:] = book
        assert kept.update(bids, asks) == plain.update(list(book[0]), list(book[1]))


def test_features_are_pickled_from_one_process_to_another() -> None:
    measure = DeltaZ()
    found = list(run("delta z", measure, range(200)))
    script = "import pickle, sys; m = pickle.load(sys.stdin.buffer); m.update(1700001000000000000, 2.5); sys.stdout.buffer.write(pickle.dumps(m))"
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(measure), capture_output=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    measure.update(1700001000000000000, 2.5)
    again = pickle.loads(done.stdout)
    assert found and list(run("delta z", again, range(200, 300))) == list(run("delta z", measure, range(200, 300)))
