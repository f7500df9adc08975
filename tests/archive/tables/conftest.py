"""Every kind of table store, each test with an empty one of its own. Databases are real: an embedded ClickHouse, a PostgreSQL of our own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tape_archive.tables import Tables, open_tables
from tests.support.clickhouse_http import Server
from tests.support.postgres import Postgres

KINDS = ["parquet", "chdb", "clickhouse", "postgresql"]
_COUNT = itertools.count(1)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def chdb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("clickhouse"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty place."""
    if kind == "parquet":
        return f"parquet://{tmp_path_factory.mktemp('tables')}"
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.url(f"t{next(_COUNT)}")
    if kind == "clickhouse":
        face: Server = request.getfixturevalue("clickhouse")
        return face.url(f"t{next(_COUNT)}")
    # A process has one chDB folder; each test has a database of its own in it.
    return f"chdb://{request.getfixturevalue('chdb_folder')}?database=t{next(_COUNT)}"


@pytest.fixture
def again(url: str) -> Iterator[Callable[[], Tables]]:
    """The store, opened as by another process."""
    opened: list[Tables] = []

    def one() -> Tables:
        opened.append(open_tables(url))
        return opened[-1]

    yield one
    for tables in opened:
        tables.close()


@pytest.fixture
def tables(again: Callable[[], Tables]) -> Tables:
    made = again()
    made.create()
    return made
