"""Whether recording would work: a few minutes of it, judged by what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tape_archive.format import harvest as layout
from tape_archive.format.errors import NotFound
from tape_archive.format.harvest import Kind
from tape_collectors.market.harvest_setup import VENUE
from tape_collectors.settings import HarvestSettings
from tape_collectors.venues import load

#: reconnects, and the share of trades that came twice, that a few minutes may have
MOST_RECONNECTS = 3
MOST_DOUBLES = 0.002


class Check(msgspec.Struct):
    """One judgement."""

    what: str
    found: str
    wanted: str
    ok: bool


def judge(settings: HarvestSettings, begun: int, reconnects: int, doubles: int, errors: int) -> list[Check]:
    """What the run that began at tape time ``begun`` (unix ns) wrote, against what is wanted."""
    root = Path(settings.root)
    checks = [
        Check("reconnects", str(reconnects), f"at most {MOST_RECONNECTS}", reconnects <= MOST_RECONNECTS),
        Check("write errors", str(errors), "0", not errors),
    ]
    trades = 0
    for symbol in map(load(VENUE).native, settings.symbols):
        counts = {kind: len(_column(root, kind, symbol, begun, "recv_ns")) for kind in layout.DENSE}
        trades += counts["prices"]
        for kind, count in counts.items():
            checks.append(Check(f"{symbol} rows of {kind}", f"{count:,}", "some", count > 0))
        checks += _latency(settings, symbol, _column(root, "prices", symbol, begun, "latency_ms"))
        missed = sum(_column(root, "prices", symbol, begun, "missed")[1:])
        checks.append(Check(f"{symbol} trades missed", f"{missed:,}", "0", not missed))
    share = doubles / (trades + doubles) if trades + doubles else 0.0
    checks.append(Check("trades that came twice", f"{share:.2%}", f"at most {MOST_DOUBLES:.1%}", share <= MOST_DOUBLES))
    return checks


def _latency(settings: HarvestSettings, symbol: str, values: list[float | None]) -> list[Check]:
    known = sorted(value for value in values if value is not None)
    if not known:
        return [Check(f"{symbol} latency", "unknown", "known", False)]
    p50, p99 = (known[min(len(known) - 1, round(share * (len(known) - 1)))] for share in (0.5, 0.99))
    skew = "; below 0: this machine's clock is behind the venue's, use NTP" if known[0] < 0 else ""
    return [
        Check(
            f"{symbol} latency p50", f"{p50:.0f} ms{skew}", f"below {settings.max_latency_p50_ms:g} ms", p50 < settings.max_latency_p50_ms
        ),
        Check(f"{symbol} latency p99", f"{p99:.0f} ms", f"below {settings.max_latency_p99_ms:g} ms", p99 < settings.max_latency_p99_ms),
    ]


def _column(root: Path, kind: Kind, symbol: str, begun: int, name: str) -> list[Any]:
    import pyarrow.parquet as pq

    values: list[Any] = []
    for part in layout.parts(root, kind, symbol):
        if part.first >= begun:
            try:
                values += pq.ParquetFile(part.path).read(columns=[name]).column(0).to_pylist()
            except FileNotFoundError as error:
                raise NotFound(f"{part.path} went away: {error}") from None
    return values
