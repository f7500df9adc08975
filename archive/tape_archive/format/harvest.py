"""The output of ``ofi-record``: where its Parquet parts lie, and what their columns are.

``data/ofi_cvd/date=<YYYY-MM-DD>/symbol=<S>/kind=<K>/part-<first>-<last>.parquet``: ``first`` and ``last`` are the ``recv_ns`` of its first
and last row, ``date`` is the UTC day of ``first``. A part holds one rotation of tape time (60 s, beginning at whole UTC minutes) and no
row of another. Tape time never repeats on a root, so no name does.

Clocks, in every kind: ``ts_ms`` and ``recv_ns`` are the tape's (our receive time); ``event_ts_ms`` is the venue's. Rows of a part stand in
the order of the tape, and ``recv_ns`` never falls; one ``recv_ns`` may have several rows. The columns of the brief come first, ours
behind them. What is not known is null, never 0. Definitions: docs/reference/ofi-cvd.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from tape_archive.format.layout import element, name_of
from tape_archive.format.ticks import PartFile, part_of, uncovered

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "data/ofi_cvd"
ARTIFACTS = "artifacts"
RUN_LOGS = f"{ARTIFACTS}/run_logs"
REPORTS = f"{ARTIFACTS}/dq_reports"
CHECKPOINT = f"{ARTIFACTS}/state/checkpoint.json"

Kind = Literal["prices", "ofi", "cvd", "fusion", "events", "book"]
#: the brief's five, and ``book``
KINDS: tuple[Kind, ...] = get_args(Kind)
#: kinds that have rows as long as the venue speaks; events come when they come
DENSE: tuple[Kind, ...] = ("prices", "ofi", "cvd", "fusion", "book")
#: of the book and of the flow by rank
LEVELS = 5

#: by kind: (column, type, unit and meaning). ``?`` behind a type: may be null. ``text`` is dictionary-encoded.
COLUMNS: dict[Kind, tuple[tuple[str, str, str], ...]] = {
    "prices": (
        ("ts_ms", "int64", "tape time, ms"),
        ("event_ts_ms", "int64", "trade time of the venue (T), ms"),
        ("symbol", "text", ""),
        ("price", "double", "quote currency"),
        ("qty", "double", "base currency"),
        ("agg_trade_id", "int64", "a; each once, rising"),
        ("latency_ms", "double?", "tape time - time of sending (E); below 0 if the clocks differ so: kept"),
        ("recv_rate_tps", "double?", "trades a second over the last 60 s of tape time; null until so long watched"),
        ("recv_ns", "int64", "tape time, ns: the line that made the row"),
        ("sent_ts_ms", "int64?", "when the venue sent it (E), ms"),
        ("side", "text", "of the taker: buy or sell"),
        ("missed", "int64", "ids between the trade before (of an earlier run too) and this one that never came; 0 if none is known"),
        ("feed", "text", "the stream: aggTrade"),
    ),
    "ofi": (
        ("ts_ms", "int64", "tape time, ms"),
        ("symbol", "text", ""),
        ("ofi_value", "double?", "order flow imbalance of this book update at the best level (Cont, Kukanov & Stoikov), base currency"),
        ("ofi_z", "double?", "of ofi_value, against the updates before it"),
        ("scale", "double?", "what ofi_z was divided by"),
        ("regime", "text?", "active or quiet"),
        ("event_ts_ms", "int64", "when the venue sent the update (E), ms"),
        ("recv_ns", "int64", "tape time, ns"),
        ("last_id", "int64", "u of the update"),
        ("ofi_1", "double?", "by rank (Xu, Gould & Howison), base currency; rank 1 is ofi_value"),
        ("ofi_2", "double?", ""),
        ("ofi_3", "double?", ""),
        ("ofi_4", "double?", ""),
        ("ofi_5", "double?", ""),
        ("ofi_retreat", "double?", "best level, a retreat with the size at the new price (the variant of implementations of CCZ)"),
        ("rank_difference", "double?", "what the origin called OFI: the weighted change of the sizes by rank"),
        ("interval_end_ms", "int64?", "end (tape time) of the last whole interval, of which the next columns are; null after a gap"),
        ("interval_ofi", "double?", "sum of ofi_value over the interval"),
        ("interval_norm", "double?", "interval_ofi by the mean depth of the best level; no unit"),
        ("norm_1", "double?", "by rank, by the mean depth of all ranks; no unit"),
        ("norm_2", "double?", ""),
        ("norm_3", "double?", ""),
        ("norm_4", "double?", ""),
        ("norm_5", "double?", ""),
        ("integrated", "double?", "norm_1..5 in one number (Cont, Cucuringu & Zhang), fitted on earlier intervals; no unit"),
        ("why", "text?", "why ofi_z is null"),
        ("feed", "text", "the stream of the book: depth@100ms"),
    ),
    "cvd": (
        ("ts_ms", "int64", "tape time, ms"),
        ("symbol", "text", ""),
        ("cvd", "double", "bought less sold by takers since the anchor, base currency"),
        ("delta", "double?", "this trade: +qty bought, -qty sold"),
        ("z_raw", "double?", ""),
        ("z_cvd", "double?", "z_raw within the limit"),
        ("scale", "double?", "what z_raw was divided by, base currency"),
        ("sigma_floor", "double?", "base currency"),
        ("floor_used", "bool?", "whether sigma_floor was the scale"),
        ("regime", "text?", "active or quiet"),
        ("event_ts_ms", "int64", "trade time of the venue (T), ms"),
        ("recv_ns", "int64", "tape time, ns"),
        ("agg_trade_id", "int64", "a of the trade"),
        ("cvd_quote", "double", "quote currency"),
        ("delta_quote", "double?", "quote currency"),
        ("anchor_ms", "int64", "the time from which cvd counts, ms"),
        ("gaps", "int64", "how often trades were missed since the anchor"),
        ("why", "text?", "why z_cvd is null"),
        ("feed", "text", "the stream: aggTrade"),
    ),
    "fusion": (
        ("ts_ms", "int64", "tape time, ms"),
        ("symbol", "text", ""),
        ("score", "double?", "weighted sum of both z"),
        ("score_z", "double?", "of score, against the scores before it"),
        ("regime", "text?", "active or quiet"),
        ("event_ts_ms", "int64", "of the book update, ms"),
        ("recv_ns", "int64", "tape time, ns: of the ofi row that it is of"),
        ("ofi_z", "double?", "as used"),
        ("z_cvd", "double?", "as used: of the last trade"),
        ("lag_ms", "double?", "event time of the update - event time of the trade"),
        ("lagged", "bool", "further apart than allowed: the stronger z stands alone"),
        ("consistency", "double?", "0 to 1"),
        ("dispersion", "double?", "|ofi_z - z_cvd|"),
        ("probability", "double?", "1 / (1 + e^-score); nothing has calibrated it"),
        ("signal", "text?", "strong_sell, sell, neutral, buy, strong_buy"),
        ("session", "text", "Tokyo, London, NewYork"),
        ("scenario", "text?", "A_H, A_L, Q_H, Q_L"),
        ("feed", "text", "both streams"),
    ),
    "events": (
        ("ts_ms", "int64", "tape time when it was known, ms"),
        ("symbol", "text", ""),
        ("event_type", "text", "see EVENTS"),
        ("meta_json", "string", "what it was of"),
        ("event_ts_ms", "int64?", "event time when it was known, ms"),
        ("recv_ns", "int64", "tape time, ns"),
        ("pivot_ts_ms", "int64?", "event time of the pivot that the event is about, ms"),
        ("feed", "text", ""),
    ),
    "book": (
        ("ts_ms", "int64", "tape time, ms"),
        ("symbol", "text", ""),
        ("event_ts_ms", "int64", "when the venue sent the update (E), ms; of a whole book its E or T"),
        ("recv_ns", "int64", "tape time, ns"),
        ("first_id", "int64", "U"),
        ("last_id", "int64", "u"),
        ("prev_id", "int64?", "pu: the u that the venue says came before; null for a snapshot"),
        ("snapshot", "bool", "the row is of a whole book (first_id and last_id are its id); nothing is differenced across it"),
        ("latency_ms", "double?", "tape time - time of sending (E); null for a snapshot"),
        *(
            (f"{side}_{what}_{rank}", "double?", f"{side}, rank {rank}; null if there is none")
            for rank in range(1, LEVELS + 1)
            for side in ("bid", "ask")
            for what in ("price", "qty")
        ),
        ("feed", "text", "the stream: depth@100ms"),
    ),
}
#: event_type: divergences at confirmation; conflicts of one row; what the tape says of its own completeness
DIVERGENCES = ("bull_div", "bear_div", "hidden_bull", "hidden_bear")
CONFLICTS = ("ofi_cvd_conflict", "ofi_cvd_divergence", "anomaly", "price_anomaly")
#: trades_missed: {from_id, to_id, missed}; book_lost, book_back: {why}; late_trade: {agg_trade_id, price, qty, side};
#: trades_doubled: {count, sent_twice, ids}; reset (the venue began anew): {channel, why}; begin: a run begins, {carried}
TAPE_EVENTS = ("begin", "trades_missed", "late_trade", "trades_doubled", "book_lost", "book_back", "reset")
EVENTS = (*DIVERGENCES, *CONFLICTS, *TAPE_EVENTS)

#: what /metrics of ofi-record shows, by the brief's names: (type, labels, meaning)
METRICS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "recv_rate_tps": ("gauge", ("symbol",), "trades a second over the last 60 s"),
    "ws_reconnects_total": ("counter", (), "sockets that were lost or replaced"),
    "dedup_hits_total": ("counter", ("symbol",), "trades that came again and were left out"),
    "latency_ms": ("histogram", ("symbol",), "tape time - time of sending of each trade"),
    "cvd_scale_median": ("gauge", ("symbol",), "median of the last 300 scales"),
    "cvd_floor_hit_rate": ("gauge", ("symbol",), "share of the last 300 scales that were the floor"),
    "data_rows_total": ("counter", ("kind", "symbol"), "rows made"),
    "write_errors_total": ("counter", (), "parts that could not be written after three tries"),
}
LATENCY_BUCKETS_MS = (10, 30, 60, 120, 300, 600)


def names(kind: Kind) -> list[str]:
    """The columns of a kind."""
    return [name for name, _, _ in COLUMNS[kind]]


def schema(kind: Kind) -> pa.Schema:
    """The Arrow schema of a kind's parts."""
    import pyarrow as pa

    types = {
        "int64": pa.int64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "string": pa.string(),
        "text": pa.dictionary(pa.int8(), pa.string()),
    }
    fields = [pa.field(name, types[kind_of.rstrip("?")], nullable=kind_of.endswith("?")) for name, kind_of, _ in COLUMNS[kind]]
    return pa.schema(fields, metadata={"tapeline.format": f"ofi_cvd {kind} 1"})


def kind_folder(root: Path, symbol: str, kind: Kind, t: int) -> Path:
    """The folder of the parts of one kind, symbol and UTC day; ``t`` unix ns."""
    date = datetime.fromtimestamp(t // 1_000_000_000, UTC)
    return root / FOLDER / f"date={date:%Y-%m-%d}" / f"symbol={element(symbol)}" / f"kind={kind}"


def part_path(root: Path, symbol: str, kind: Kind, first: int, last: int) -> Path:
    """Where a part lies whose rows have tape times ``first`` to ``last`` (unix ns) of one UTC day."""
    return kind_folder(root, symbol, kind, first) / f"part-{first:019d}-{last:019d}.parquet"


def symbols(root: Path) -> list[str]:
    """The symbols that have parts."""
    found = set()
    for path in (root / FOLDER).glob("date=????-??-??/symbol=*"):
        try:
            found.add(name_of(path.name.removeprefix("symbol=")))
        except ValueError:
            # Somebody else's folder: no name of ours.
            continue
    return sorted(found)


def parts(root: Path, kind: Kind, symbol: str) -> list[PartFile]:
    """The finished parts of one kind and symbol that are to be read, by time (see ``ticks.uncovered``)."""
    pattern = f"date=????-??-??/symbol={element(symbol)}/kind={kind}/part-*.parquet"
    found = (part_of(str(path)) for path in (root / FOLDER).glob(pattern))
    return uncovered(part for part in found if part is not None)
