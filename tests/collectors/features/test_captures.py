"""On quotes and trades recorded from Binance: the classes, event by event, equal the printed formulas over the whole table."""

from __future__ import annotations

import gzip

import msgspec
import numpy as np
import pandas as pd
import pytest

from tape_collectors.market.features.cvd import CVD
from tape_collectors.market.features.ofi import BestOFI, RankDifference
from tests.support.captures import captures

pytestmark = pytest.mark.captures
FILES = ["usdm/ethusdt_20240808.gz", "spot/btcusdt_20240808.gz"]


def recorded(path: str, stream: bytes) -> pd.DataFrame:
    """The frames of one stream, in the order of arrival."""
    with gzip.open(captures() / "binance/hftbacktest-2024-08" / path) as file:
        return pd.DataFrame([msgspec.json.decode(line.partition(b" ")[2])["data"] for line in file if stream in line])


@pytest.mark.parametrize("path", FILES)
def test_best_level_of_recorded_quotes(path: str) -> None:
    table = recorded(path, b"@bookTicker")[["b", "B", "a", "A"]].astype("float64")
    ofi, ranks = BestOFI(), RankDifference([1.0])
    rows = list(table.itertuples(index=False, name=None))
    found = [ofi.update(*row) for row in rows]
    plain = [ranks.update([row[:2]], [row[2:]]) for row in rows]
    before = table.shift(1)
    e = (
        (table["b"] >= before["b"]) * table["B"]
        - (table["b"] <= before["b"]) * before["B"]
        - (table["a"] <= before["a"]) * table["A"]
        + (table["a"] >= before["a"]) * before["A"]
    )
    assert len(found) > 20_000 and found.count(None) == plain.count(None) == 1
    np.testing.assert_allclose(np.array(found[1:], dtype=float), e.iloc[1:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.array(plain[1:], dtype=float), (table["B"] - table["A"]).diff().iloc[1:], rtol=1e-9, atol=1e-9)
    stands = ((table["b"] == before["b"]) & (table["a"] == before["a"])).iloc[1:].to_numpy()
    assert np.allclose(np.array(found[1:], dtype=float)[stands], np.array(plain[1:], dtype=float)[stands], atol=1e-9)
    assert not np.allclose(np.array(found[1:], dtype=float)[~stands], np.array(plain[1:], dtype=float)[~stands], atol=1e-9)


@pytest.mark.parametrize("path", FILES)
def test_cvd_of_recorded_trades(path: str) -> None:
    table = recorded(path, b"@trade")
    cvd = CVD("run")
    points = [cvd.update(row.T * 1_000_000, float(row.p), float(row.q), "sell" if row.m else "buy", id=row.t) for row in table.itertuples()]
    signed = table["q"].astype("float64") * np.where(table["m"].astype(bool), -1.0, 1.0)
    assert (cvd.duplicates, cvd.bad, len(points) > 1000) == (0, 0, True)
    np.testing.assert_allclose([point.cvd for point in points if point], signed.cumsum(), rtol=0, atol=1e-9)
    quote = (signed * table["p"].astype("float64")).cumsum()
    np.testing.assert_allclose([point.cvd_quote for point in points if point], quote, rtol=1e-11, atol=1e-6)
