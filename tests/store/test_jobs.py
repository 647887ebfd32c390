"""Jobs in the store, on SQLite and PostgreSQL, and the commands that show them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamwatch.cli import jobs as commands
from streamwatch.errors import StoreError
from streamwatch.records import Failure, Label
from streamwatch.sources import Input, Location
from streamwatch.store import Filters, Store
from streamwatch.store.jobs import InputOutcome
from streamwatch.store.states import ItemState, JobState
from tests.support.builders import CONFIG, MODEL, full_verdict
from tests.support.clocks import UtcClock

INPUTS = [
    Input(Location("a.mp4"), {"tape": 17, "show": "News, late"}),
    Input(Location("https://bob:hush@archive.example/b.mp4")),
    Input(Location("c.mp4")),
]
BROKEN = Failure("SourceUnreadable", "c.mp4: is empty")


def states(store: Store, job: int) -> list[ItemState]:
    return [item.state for item in store.jobs.items(job)]


def test_the_same_scan_is_the_same_job(store: Store) -> None:
    first = store.jobs.begin(INPUTS, MODEL, CONFIG)
    assert store.jobs.begin(INPUTS, MODEL, CONFIG) == first
    others = [store.jobs.begin(INPUTS[:2], MODEL, CONFIG), store.jobs.begin(INPUTS, MODEL, "d" * 64)]
    assert len({first, *others}) == 3
    assert [job.id for job in store.jobs.jobs()] == [others[1], others[0], first]
    assert store.jobs.job(first).total == 3


def test_inputs_come_back_in_order_with_what_was_said_of_them(store: Store) -> None:
    job = store.jobs.begin(INPUTS, MODEL, CONFIG)
    found = list(store.jobs.items(job))
    assert [item.source for item in found] == ["a.mp4", "https://***@archive.example/b.mp4", "c.mp4"]
    assert [item.metadata for item in found] == [{"tape": 17, "show": "News, late"}, {}, {}]
    assert states(store, job) == [ItemState.WAITING] * 3
    assert store.jobs.job(job).state is JobState.OPEN


def test_a_job_is_done_when_every_input_has_a_result_or_a_failure(store: Store, clock: UtcClock) -> None:
    job = store.jobs.begin(INPUTS, MODEL, CONFIG)
    run = store.begin_run("scan", "{}", CONFIG)
    verdict = full_verdict()
    store.save_verdict(run, verdict)
    clock.advance(minutes=5)
    store.jobs.settle(job, [InputOutcome(1, verdict.sha256), InputOutcome(3, None, BROKEN)])
    assert store.jobs.job(job).state is JobState.OPEN
    store.jobs.settle(job, [InputOutcome(2, None)])
    row = store.jobs.job(job)
    assert (row.state, row.counts, row.heard_at) == (
        JobState.DONE,
        {ItemState.DONE: 2, ItemState.FAILED: 1},
        clock.now,
    )
    first, second, third = store.jobs.items(job)
    assert (first.label, first.score) == (verdict.label, verdict.score)
    assert (second.label, second.state) == (None, ItemState.DONE)
    assert (third.failure, third.attempts) == (BROKEN, 1)


def test_an_input_whose_content_is_known_by_another_path_is_found(store: Store, run: int) -> None:
    verdict = full_verdict("/archive/first.mp4")
    store.save_verdict(run, verdict)
    job = store.jobs.begin(INPUTS, MODEL, CONFIG)
    assert store.verdicts(Filters(source="b.mp4")) == []
    store.jobs.settle(job, [InputOutcome(2, verdict.sha256), InputOutcome(3, "0" * 64, BROKEN)])
    (row,) = store.verdicts(Filters(source="b.mp4"))
    assert (row.verdict.source, row.copies) == ("/archive/first.mp4", ("https://***@archive.example/b.mp4",))


def test_failures_are_counted_until_they_are_to_be_tried_again(store: Store) -> None:
    job = store.jobs.begin(INPUTS, MODEL, CONFIG)
    for _ in range(2):
        store.jobs.settle(job, [InputOutcome(3, None, BROKEN)])
    assert store.jobs.spent(job, 3) == {}
    store.jobs.settle(job, [InputOutcome(3, None, BROKEN)])
    assert store.jobs.spent(job, 3) == {3: BROKEN}
    assert store.jobs.retry(job) == 1
    assert store.jobs.spent(job, 1) == {}
    assert states(store, job)[2] is ItemState.WAITING


def test_a_job_is_cancelled_until_the_same_scan_begins_again(store: Store) -> None:
    job = store.jobs.begin(INPUTS, MODEL, CONFIG)
    assert not store.jobs.cancelled(job)
    store.jobs.cancel(job)
    assert store.jobs.cancelled(job)
    assert store.jobs.job(job).state is JobState.CANCELLED
    store.jobs.begin(INPUTS, MODEL, CONFIG)
    assert not store.jobs.cancelled(job)
    store.jobs.settle(job, [InputOutcome(number, None) for number in (1, 2, 3)])
    with pytest.raises(StoreError, match="is done"):
        store.jobs.cancel(job)
    for ask in (store.jobs.job, store.jobs.cancel, store.jobs.retry):
        with pytest.raises(StoreError, match="no job has the id 77"):
            ask(77)


def test_the_commands(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(commands.app, [*arguments, "--store", url])
        assert done.exit_code == 0, done.output
        return done.stdout

    with Store.open(url) as store:
        assert "no job" in run("list")
        job = store.jobs.begin(INPUTS, MODEL, CONFIG)
        number = store.begin_run("scan", "{}", CONFIG)
        verdict = full_verdict()
        store.save_verdict(number, verdict)
        store.jobs.settle(job, [InputOutcome(1, verdict.sha256), InputOutcome(3, None, BROKEN)])
    table = run("list").splitlines()
    assert table[0].split()[:5] == ["job", "inputs", "waiting", "done", "failed"]
    assert table[1].split()[:6] == ["1", "3", "1", "1", "1", "open"]
    (listed,) = (json.loads(line) for line in run("list", "--json").splitlines())
    assert (listed["inputs"], listed["waiting"], listed["failed"], listed["state"]) == (3, 1, 1, "open")
    shown = run("show", "1")
    assert "tape: 17, show: News, late" in shown
    assert "SourceUnreadable: c.mp4: is empty" in shown
    assert "hush" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    failed = [json.loads(line) for line in run("show", "1", "--state", "failed", "--json").splitlines()]
    assert [(item["number"], item["error"]["kind"]) for item in failed] == [(3, "SourceUnreadable")]
    (first,) = (json.loads(line) for line in run("show", "1", "--limit", "1", "--json").splitlines())
    assert (first["label"], first["score"]) == (Label(first["label"]).value, verdict.score)
    assert "1 input to be retried" in run("retry", "1")
    assert "cancelled" in run("cancel", "1")
    assert run("list").splitlines()[1].split()[5] == "cancelled"
