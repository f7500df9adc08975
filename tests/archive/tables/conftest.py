"""Every kind of table store, each test with an empty one of its own. Databases are real: an embedded ClickHouse, a PostgreSQL of our own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tape_archive.tables import Tables, open_tables

KINDS = ["parquet"]
_COUNT = itertools.count(1)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty place."""
    return f"parquet://{tmp_path_factory.mktemp('tables')}"


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
