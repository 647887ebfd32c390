"""An empty store on each kind of database, whose time the tests set, and a run of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamwatch.store import Store
from tests.support.builders import CONFIG
from tests.support.clocks import UtcClock


@pytest.fixture
def clock() -> UtcClock:
    return UtcClock()


@pytest.fixture
def store(database_url: str, clock: UtcClock) -> Iterator[Store]:
    with Store.open(database_url, clock=clock) as store:
        yield store


@pytest.fixture
def run(store: Store) -> int:
    return store.begin_run("streamwatch scan /archive", "{}", CONFIG)
