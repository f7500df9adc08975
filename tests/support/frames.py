"""What the captures hold of each venue: sessions (one connection, in order) and single frames."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import zstandard

from tests.support.captures import captures

#: (kind, request or address, payload): kind is recv, http, send, open, …
Entry = tuple[str, str, bytes]


@cache
def cryptofeed(place: str) -> list[Entry]:
    """A session that cryptofeed recorded."""
    with (captures() / place / "frames.ndjson.zst").open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()
    return [(entry["kind"], entry["url"] or "", entry["raw"].encode()) for entry in map(json.loads, lines) if entry.get("raw")]


def received(place: str) -> list[bytes]:
    """The frames of such a session."""
    return [data for kind, _, data in cryptofeed(place) if kind == "recv"]


def single(path: Path) -> list[bytes]:
    """Frames of a ``.jsonl`` with ``src``, ``note``, ``raw`` (or ``data`` in hex)."""
    rows = map(json.loads, path.read_bytes().splitlines())
    return [bytes.fromhex(row["data"]) if row.get("encoding") == "hex" else row["raw"].encode() for row in rows]


def plain(path: Path) -> list[bytes]:
    """Bare payloads, a line each, with or without a time before them."""
    return [line.split(b"\t", 1)[-1] for line in path.read_bytes().splitlines() if line.strip()]


def hftbacktest(name: str, most: int) -> list[bytes]:
    """The first frames of a capture of 2024."""
    with gzip.open(captures() / "binance" / "hftbacktest-2024-08" / name) as file:
        return [line.split(b" ", 1)[1].rstrip() for line in islice(file, most)]


def okx() -> list[bytes]:
    root = captures() / "okx"
    out = plain(root / "fastmm-2026-09" / "raw_perp_stream.jsonl") + plain(root / "gocryptotrader-ws" / "wsAllTrades.jsonl")
    out += single(root / "live-frames-2026" / "frames.give.jsonl") + single(root / "crypto-msg-parser-2021-2022" / "okx_test_frames.jsonl")
    return out + received("okx/cryptofeed/okx-v5-2022-05-13") + received("okx/cryptofeed/okcoin-v5-2023-05-27")


def bybit() -> list[bytes]:
    root = captures() / "bybit"
    out = plain(root / "fastmm-testnet-2026-09" / "raw_md_stream.jsonl")
    out += plain(root / "fastmm-linear-tickers-2026-09" / "BTCUSDT.give.tsv") + plain(root / "gocryptotrader-ws" / "wsTicker.jsonl")
    return out + single(root / "live-frames-2026" / "frames.give.jsonl")


def gate() -> list[bytes]:
    root = captures() / "gate"
    out = received("gate/cryptofeed/spot-v4-2021-04-22")
    out += single(root / "live-frames-2026" / "frames.give.jsonl") + single(root / "crypto-msg-parser-2021-2022" / "gate_test_frames.jsonl")
    return out + [path.read_bytes() for path in sorted((root / "xchange-stream").glob("*.json"))]


def mexc() -> list[bytes]:
    root = captures() / "mexc"
    out = single(root / "live-hex-2026" / "spot_protobuf_frames.give.jsonl") + list(vectors().values())
    out += single(root / "live-hex-2026" / "futures_json_frames.give.jsonl")
    return out + single(root / "crypto-msg-parser-2021-2022" / "mexc_test_frames.jsonl")


def vectors() -> dict[str, bytes]:
    """The sheet's vectors of MEXC, by name."""
    import runpy

    import pytest

    path = captures().parent / "reference" / "mexc_vectors.py"
    if not path.exists():
        pytest.skip(f"no vectors at {path}")
    return {name: bytes.fromhex(text) for name, text in runpy.run_path(str(path)).items() if name.startswith(("REAL_", "SYNTH_"))}


def binance_usdm() -> list[bytes]:
    root = captures() / "binance"
    out = plain(root / "fastmm-usdm-2026-09" / "raw_md_stream.testnet.head.jsonl")
    out += [frame for path in sorted((root / "live-frames-2026").glob("*.jsonl")) for frame in single(path)]
    return out + hftbacktest("usdm/ethusdt_20240808.gz", 3000)


def binance_spot() -> list[bytes]:
    return hftbacktest("spot/btcusdt_20240808.gz", 3000)


#: by venue
FRAMES = {
    "binance_spot": binance_spot,
    "binance_usdm": binance_usdm,
    "okx_spot": okx,
    "okx_swap": okx,
    "bybit_spot": bybit,
    "bybit_linear": bybit,
    "gate_spot": gate,
    "gate_usdt": gate,
    "mexc_spot": mexc,
}


def dictionaries(data: bytes) -> Iterator[dict[str, object]]:
    """Every JSON object within a frame."""
    waiting: list[object] = [json.loads(data)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
