"""``tape tables``, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tape_archive.tables import Cursor, open_tables
from tape_archive.tables.schema import SPECS
from tests.support.recording import environment
from tests.support.rows import DAY, SECOND, rows


def tape(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tape_archive", "tables", *arguments], env=environment(), capture_output=True, text=True)


def test_make_count_and_clean_up(tmp_path: Path) -> None:
    url = f"parquet://{tmp_path}/data"
    made = tape("create", "--url", url)
    assert made.returncode == 0 and made.stdout == f"{len(SPECS)} tables in {url}\n"
    now, store = time.time_ns(), open_tables(url)
    for table in ("trades", "candles_1d"):
        # Ten days; trades are kept for seven, candles of a day for ever.
        store.insert(table, rows(SPECS[table], 100, start=now - 10 * DAY + 60 * SECOND, step=DAY // 10), Cursor("w", 1))
    store.close()
    counted = json.loads(tape("count", "--url", url, "--table", "trades", "--json").stdout)
    assert counted == [{"table": "trades", "rows": 100, "before": 0, "error": ""}]
    done = tape("prune", "--url", url)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("trades                          30 rows  older than ") and lines[-1].endswith(", 30 rows")
    assert not any(line.startswith(("candles_1d", "instruments")) for line in lines)
    assert "candles_1d                     100 rows" in tape("count", "--url", url).stdout
    assert "70 rows" in tape("count", "--url", url, "--table", "trades").stdout
    assert "70 rows" in tape("prune", "--url", url, "--table", "trades", "--before", "2100-01-01").stdout


def test_one_line_for_what_a_user_gets_wrong(tmp_path: Path) -> None:
    for arguments, code, words in (
        (("count", "--url", "mysql://x"), 2, "no table store of kind 'mysql'"),
        (("count", "--url", f"parquet://{tmp_path}", "--table", "trade"), 2, "there is no table 'trade'; the tables are trades"),
        (("prune", "--url", f"parquet://{tmp_path}", "--before", "2026-01-01"), 2, "--before needs --table"),
        (("create", "--url", "postgresql://me:secret@127.0.0.1:1/x"), 10, "postgresql://me@127.0.0.1:1/x cannot be reached"),
        (("create", "--url", "clickhouse://me:secret@127.0.0.1:1/x?tll=1"), 2, "no option 'tll'; there are cluster, timeout, ttl"),
    ):
        done = tape(*arguments)
        assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr and "secret" not in done.stderr
