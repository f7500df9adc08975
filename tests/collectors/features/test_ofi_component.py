"""The first component and integrated OFI, beside numpy, scikit-learn and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from statsmodels.multivariate.pca import PCA as StatsPCA

from tape_collectors.market.features.ofi import Component, IntegratedOFI, first_component

ROWS = [(1.0, 2.0), (2.0, 3.9), (3.0, 6.1), (-1.0, -2.1), (0.0, 0.1)]
exactly = pytest.approx


def near(value: object) -> object:
    return exactly(value, rel=1e-9, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(2, 10), st.integers(12, 200))
def test_component_equals_two_libraries(seed: int, columns: int, count: int) -> None:
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(count, 1)) * chance.uniform(0.5, 2.0, columns) + 0.3 * chance.normal(size=(count, columns))
    found = first_component(rows.tolist())
    assert found is not None
    model = PCA(n_components=1).fit(rows)
    vector = model.components_[0] * np.sign(model.components_[0].sum())
    assert found.weights == exactly((vector / np.abs(vector).sum()).tolist(), abs=1e-9)
    assert found.explained == near(float(model.explained_variance_ratio_[0]))
    other = StatsPCA(rows, ncomp=1, standardize=False).loadings[:, 0]
    other = other * np.sign(other.sum())
    assert found.weights == exactly((other / np.abs(other).sum()).tolist(), abs=1e-9)
    assert sum(abs(weight) for weight in found.weights if weight is not None) == near(1.0)


def test_component_leaves_out_what_does_not_vary_or_is_not_known() -> None:
    rows: list[list[float | None]] = [[1.0, 5.0, None, 2.0, 1.0], [2.0, 5.0, 3.0, 3.9, math.nan], [3.0, 5.0, 4.0, 6.1, 2.0]]
    found, plain = first_component(rows), first_component([(row[0], row[3]) for row in rows])
    assert found is not None and plain is not None
    assert found.weights == [plain.weights[0], None, None, plain.weights[1], None]
    assert first_component([(1.0, None), (1.0, None)]) is None
    assert first_component(ROWS[:1]) is None
    assert first_component([(1.0,), (3.0,)]) == Component([1.0], 1.0)


def test_component_without_a_direction_has_equal_weights() -> None:
    square = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
    opposite = [(1.0, -1.0), (2.0, -2.0), (3.0, -3.0)]
    for rows in (square, opposite):
        found = first_component(rows)
        assert found is not None
        assert found.weights == [0.5, 0.5]


@given(st.integers(0, 10**6))
def test_the_sign_of_the_component_is_positive(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(30, 3))
    found = first_component(rows.tolist())
    assert found is not None
    assert sum(weight for weight in found.weights if weight is not None) > 0


def test_integrated_is_fitted_on_earlier_rows_only() -> None:
    chance = np.random.default_rng(7)
    rows = chance.normal(size=(40, 3)).tolist()
    ofi, found = IntegratedOFI(window=10, refit=5), []
    for number, row in enumerate(rows):
        found.append(ofi.update(row))
        if number < 10:
            assert found[-1] is None
            continue
        fitted = 9 + (number - 10) // 5 * 5
        component = first_component(rows[fitted - 9 : fitted + 1])
        assert component is not None
        assert found[-1] == near(float(np.dot(row, np.array(component.weights, dtype=float))))


def test_integrated_does_not_know_what_comes_after() -> None:
    chance = np.random.default_rng(8)
    rows = chance.normal(size=(60, 3)).tolist()
    whole = IntegratedOFI(20, 7)
    found = [whole.update(row) for row in rows]
    for cut in (21, 25, 33, 59):
        part = IntegratedOFI(20, 7)
        assert [part.update(row) for row in [*rows[:cut], *([[1e6, -1e6, 3.0]] * 3)]][:cut] == found[:cut]


def test_integrated_is_none_where_a_weighted_rank_is() -> None:
    ofi = IntegratedOFI(window=5, refit=100)
    for row in ROWS:
        ofi.update([*row, 4.0])
    assert ofi.component is not None and ofi.component.weights[2] is None
    assert ofi.update([1.0, None, 4.0]) is None
    assert ofi.update([1.0, math.nan, 4.0]) is None
    assert ofi.update([1.0, 2.0, None]) == near(1.669031062740589)


def test_intervals_without_any_value_are_not_fitted_on() -> None:
    ofi = IntegratedOFI(window=5, refit=100)
    for row in ROWS:
        ofi.update([None, None])
        assert ofi.component is None
        ofi.update(row)
    assert ofi.component == first_component(ROWS)
