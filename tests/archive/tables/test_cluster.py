"""The tables of a cluster, on chDB's engine: what needs Keeper is taken out of each statement, all else is run as it is.

Taken out: ``ON CLUSTER`` and the word ``Replicated`` with its path. Run: every local table, every Distributed table over a cluster of one
shard, the view; and the store's own inserts, cursors, reads and searches by way of the Distributed tables.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from clickhouse_connect import get_client

from tape_archive.tables import Cursor, ddl
from tape_archive.tables.batch import digest
from tape_archive.tables.clickhouse import ClickHouseTables
from tape_archive.tables.laws import Life, candles
from tape_archive.tables.schema import SPECS
from tests.archive.tables.test_ddl import FOLDER, statements
from tests.support.recording import environment
from tests.support.rows import SECOND, rows

CLUSTER = """<clickhouse>
  <tcp_port>9000</tcp_port>
  <remote_servers><tape><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></tape></remote_servers>
  <macros><cluster>tape</cluster><shard>1</shard><replica>a</replica></macros>
</clickhouse>"""
KEEPER = re.compile(
    r" ON CLUSTER '[^']*'|Replicated(?=\w*MergeTree)|'/clickhouse/tables/\{shard\}/\{database\}/\{table\}', '\{replica\}', "
)


def alone(statement: str) -> str:
    """The statement without what needs Keeper."""
    return KEEPER.sub("", statement).replace("'{cluster}'", "'tape'")


def work(folder: Path) -> None:
    """In a process of its own: a process has one chDB folder."""
    (folder / "cluster.xml").write_text(CLUSTER)
    client = get_client(interface="chdb", path=f"{folder}/chdb?config-file={folder}/cluster.xml")
    client.command("CREATE DATABASE market")
    client.command("USE market")
    made = statements("clickhouse_cluster.sql")
    for statement in made:
        assert "Keeper" not in statement and ("ON CLUSTER" in statement)
        client.command(alone(statement))
    engines = dict(client.query("SELECT name, engine FROM system.tables WHERE database = 'market'").result_rows)
    assert engines == {
        **{f"{name}_local": "ReplacingMergeTree" for name in (*SPECS, "tape_cursors")},
        **dict.fromkeys((*SPECS, "tape_cursors"), "Distributed"),
        "candles": "View",
    }
    store = ClickHouseTables("clickhouse://cluster", "market", {}, cluster="tape")
    store._clients["rows"] = client
    store._check()
    # Young rows: the tables remove by themselves what is older than they keep.
    begun = (int(time.time()) // 3600 - 2) * 3600 * SECOND
    for spec in SPECS.values():
        batch = rows(spec, 60, start=begun, step=60 * SECOND)
        assert store.insert(spec.name, batch, Cursor("w", 1, "a")) and not store.insert(spec.name, batch, Cursor("w", 1, "a"))
        later = {**batch, "receipt_timestamp": [at + SECOND for at in batch["receipt_timestamp"]]}
        assert store.insert(spec.name, later, Cursor("w", 2, "b")), "a row that comes again stands once"
        counts = store.count(spec.name), int(store._rows(f"SELECT count() FROM market.{spec.name}_local FINAL")[0][0])
        assert counts == (60, 60), (spec.name, counts)
        assert store.read(spec.name)["receipt_timestamp"].to_pylist() != [] and len(digest(store.read(spec.name))) > 0
    store._known.clear()
    assert store.cursors("w") == {name: Cursor("w", 2, "b") for name in SPECS}
    seen = store.missing("candles_1m", {"BTC-USDT-PERP": Life(None, None)}, begun, begun + 60 * 60 * SECOND, candles("1m"))
    there = store.count("candles_1m", "BTC-USDT-PERP")
    assert there > 0 and sum(gap.rows for gap in seen["BTC-USDT-PERP"]) == 60 - there
    wanted = 60 * (1 + len([name for name in SPECS if name.startswith("candles_")]))
    assert store._rows("SELECT count() FROM market.candles")[0][0] == wanted
    store.close()


def test_the_tables_of_a_cluster_run_but_for_keeper(tmp_path: Path) -> None:
    code = "import sys, pathlib; from tests.archive.tables.test_cluster import work; work(pathlib.Path(sys.argv[1]))"
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment(), capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_what_is_taken_out_is_all_that_is(tmp_path: Path) -> None:
    """The statements differ from those of one server in these words alone, and by the Distributed tables."""
    local = [alone(one).replace("_local`", "`") for one in ddl.clickhouse(cluster="{cluster}") if "Distributed(" not in one]
    assert local == ddl.clickhouse() and (FOLDER / "clickhouse_cluster.sql").exists()
