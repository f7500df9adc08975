"""Which instruments there are: what a look makes of a list, over restarts, renames and lists that are broken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tape_archive.format.errors import SettingsError
from tape_collectors.venues.binance import USDM
from tape_collectors.whole_market.discovery import Discovery, Wanted

Row = dict[str, Any]


def row(symbol: str, status: str = "TRADING", base: str = "", contract: str = "PERPETUAL", quote: str = "USDT") -> Row:
    return {
        **{"symbol": symbol, "status": status, "contractType": contract, "baseAsset": base or symbol.removesuffix(quote)},
        **{"quoteAsset": quote, "onboardDate": 1_700_000_000_000, "deliveryDate": 4_133_404_800_000, "filters": []},
    }


class Intake:
    """Keeps the marks."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, dict[str, Any]]] = []

    def mark(self, s: str, kind: str, fields: Mapping[str, Any]) -> int:
        self.marks.append((kind, dict(fields)))
        return 1

    def told(self) -> list[tuple[str, str]]:
        return [(fields["what"], fields["symbol"]) for kind, fields in self.marks if kind == "listing"]


class Venue:
    """One process of a venue whose list the test sets."""

    def __init__(self, folder: Path, symbols: tuple[str, ...] = ("all",)) -> None:
        self.rows: list[Row] = []
        self.intake = Intake()
        self.trading: list[list[str]] = []
        self.one = Discovery(USDM, Wanted(symbols, (0, 1), 300.0), [self.intake], self, self.changed, folder / "kept.json")  # type: ignore[arg-type, list-item]

    async def ask(self, host: str, request: str) -> tuple[int, bytes]:
        return 200, msgspec.json.encode({"symbols": self.rows})

    async def changed(self, symbols: list[str]) -> None:
        self.trading.append(symbols)

    async def look(self, *rows: Row) -> bool:
        self.rows = list(rows)
        return await self.one._look()


async def test_only_perpetuals_in_usdt(tmp_path: Path) -> None:
    venue = Venue(tmp_path)
    coin = row("BTCUSD_PERP", base="BTC", quote="USD")
    quarter = row("BTCUSDT_261225", base="BTC", contract="CURRENT_QUARTER")
    await venue.look(row("BTCUSDT"), row("ETHUSDC", quote="USDC"), coin, quarter, row("XUSDT", "PENDING_TRADING"))
    assert venue.trading == [["BTCUSDT"]] and venue.intake.told() == [("first", "BTCUSDT"), ("first", "XUSDT")]
    assert venue.intake.marks[-1] == ("listings", {"listed": 2, "recorded": 2})


async def test_a_broken_list_closes_nothing(tmp_path: Path) -> None:
    """An empty one is never believed; one that lacks many only when it is told three times."""
    venue = Venue(tmp_path)
    every = [row(f"C{at}USDT") for at in range(100)]
    assert await venue.look(*every)
    for _ in range(5):
        assert not await venue.look()
    assert venue.one.trading == [one["symbol"] for one in every]
    assert await venue.look(*every)
    few = every[:40]
    assert [await venue.look(*few) for _ in range(3)] == [False, False, True]
    assert len(venue.one.trading) == 40 and len(venue.trading) == 2
    # A tenth at once is what a venue does.
    assert await venue.look(*few[:-4])


async def test_what_was_delisted_while_nobody_looked_is_told(tmp_path: Path) -> None:
    first = Venue(tmp_path)
    await first.look(row("BTCUSDT"), row("ETHUSDT"), row("XRPUSDT"))
    after = Venue(tmp_path, ("BTCUSDT", "NEWUSDT"))
    await after.look(row("BTCUSDT"), row("XRPUSDT"), row("NEWUSDT"))
    # XRPUSDT is only no longer wanted.
    assert after.intake.told() == [("first", "BTCUSDT"), ("first", "NEWUSDT"), ("gone", "ETHUSDT")]
    again = Venue(tmp_path)
    await again.look(row("BTCUSDT"), row("NEWUSDT"))
    assert ("gone", "ETHUSDT") not in again.intake.told()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_coin_under_another_multiplier_is_a_rename(tmp_path: Path, restart: bool) -> None:
    one = Venue(tmp_path)
    await one.look(row("BTCUSDT"), row("PEPEUSDT"))
    other = Venue(tmp_path) if restart else one
    await other.look(row("BTCUSDT"), row("PEPEUSDT", "SETTLING"), row("1000PEPEUSDT"), row("1INCHUSDT"), row("1000000MOGUSDT"))
    told = {fields["symbol"]: fields for kind, fields in other.intake.marks if kind == "listing"}
    assert told["1000PEPEUSDT"]["previous"] == "PEPE-USDT-PERP"
    facts = {symbol: (fields["coin"], fields["multiplier"]) for symbol, fields in told.items()}
    assert facts["1000PEPEUSDT"] == ("PEPE", "1000") and facts["1000000MOGUSDT"] == ("MOG", "1000000")
    assert facts["1INCHUSDT"] == ("1INCH", "1") and "previous" not in told["1INCHUSDT"]


async def test_names_that_nobody_lists_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    venue = Venue(tmp_path, ("BTCUSDT", "ETHUSDTT"))
    await venue.look(row("BTCUSDT"), row("ETHUSDT"))
    (said,) = [record for record in caplog.records if "no such perpetual" in record.message]
    assert (said.symbol, said.nearest) == ("ETHUSDTT", "ETHUSDT")  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match="try --symbols all"):
        await Venue(tmp_path / "x", ("DOGE*",)).look(row("BTCUSDT"))
