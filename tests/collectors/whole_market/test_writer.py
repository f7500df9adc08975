"""How the process that writes tables ends."""

from __future__ import annotations

from pathlib import Path

from tape_archive.tables.tables import open_tables
from tape_collectors.whole_market.writer import TableWriter, open_tapes
from tests.support.tapes import Writer

VENUE = "binance_usdm"
TYPES = ("trades", "book_ticker")


def test_one_that_begins_behind_a_seal_ends_at_once(tmp_path: Path) -> None:
    """The writer of a recorder that was killed has written one tape to its end, and goes; the next one is told to stop as it begins."""
    tapes = {stream: Writer(tmp_path, VENUE, stream) for stream in ("public", "market", "poll")}
    tapes["public"].open(1, "public-1")
    tapes["public"].quote(2, 7, "public-1")
    tapes["poll"].seal(3)
    store = open_tables(f"parquet://{tmp_path}")
    assert TableWriter(open_tapes(tmp_path, store, VENUE, TYPES, (), "1/1")).run(once=True)
    store.close()
    tapes["public"].quote(4, 8, "public-1")
    tapes["public"].seal(5)
    tapes["market"].seal(5)
    store = open_tables(f"parquet://{tmp_path}")
    writer = TableWriter(open_tapes(tmp_path, store, VENUE, TYPES, (), "1/1"), drain_s=2.0)
    writer.stop()
    assert writer.run(), "it waits for a seal that it has read"
    assert store.count("book_ticker") == 2 and not sum(one.waiting for one in writer.tapes)
    store.close()
