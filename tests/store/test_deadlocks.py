"""Two writers that wait for each other: PostgreSQL ends one of them, and its transaction goes again."""

from __future__ import annotations

import threading

import pytest

from streamwatch.errors import StoreDeadlock, StoreError
from streamwatch.store import database
from streamwatch.store.database import create_store_engine, lock, parse_url, retried, transaction


def test_a_deadlock_is_recognised_by_its_type_and_the_victim_retries(postgres_server: str) -> None:
    engine = create_store_engine(parse_url(postgres_server))
    both, made, ended = threading.Barrier(2), [], []

    @retried
    def write(first: str, second: str) -> None:
        made.append(first)
        try:
            with transaction(engine) as connection:
                lock(connection, first)
                if len(made) <= 2:
                    both.wait(timeout=20)
                lock(connection, second)
        except StoreDeadlock as error:
            ended.append(str(error))
            raise

    threads = [threading.Thread(target=write, args=keys) for keys in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    engine.dispose()
    assert len(ended) == 1
    assert "deadlock detected" in ended[0]
    assert sorted(made) in (["a", "a", "b"], ["a", "b", "b"])


def test_a_call_goes_again_a_few_times_and_after_no_other_error(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("streamwatch.store.database.time.sleep", waits.append)
    calls: list[str] = []

    @retried
    def write(error: StoreError, until: int) -> int:
        calls.append("")
        if len(calls) < until:
            raise error
        return len(calls)

    assert write(StoreDeadlock("x"), 3) == 3
    calls.clear()
    with pytest.raises(StoreDeadlock):
        write(StoreDeadlock("x"), 99)
    assert len(calls) == database.DEADLOCK_TRIES
    assert len(set(waits)) > 1  # two that met do not wait alike
    assert max(waits) <= database.DEADLOCK_WAIT_MAX
    calls.clear()
    with pytest.raises(StoreError):
        write(StoreError("x"), 99)
    assert len(calls) == 1
