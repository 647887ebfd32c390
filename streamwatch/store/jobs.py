"""Scans as jobs: their inputs, and the state of each.

The results are the verdicts, which belong to contents; a job says which inputs a scan had, in which order, with what
their manifest said of them, and why some of them have no result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, and_, func, insert, select, update

from streamwatch.errors import StoreError
from streamwatch.records import Failure, Label, Metadata, ModelRef
from streamwatch.sources import Input
from streamwatch.store.copies import note_copies_of_job
from streamwatch.store.database import lock, reading, retried, transaction
from streamwatch.store.rows import clean_json, clean_text
from streamwatch.store.saving import chunks, insert_row
from streamwatch.store.states import ItemState, JobState
from streamwatch.store.tables import items, jobs, verdicts


@dataclass(frozen=True, slots=True)
class InputOutcome:
    """What has become of an input. sha256: of its content, None where it has none that is known."""

    number: int
    sha256: str | None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JobRow:
    """A job as in a listing. heard_at: when one of its inputs was settled last. counts: of its inputs by state."""

    id: int
    model: ModelRef
    config_sha256: str
    created_at: datetime
    heard_at: datetime | None
    cancelled_at: datetime | None
    counts: dict[ItemState, int]

    @property
    def total(self) -> int:
        """How many inputs it has."""
        return sum(self.counts.values())

    @property
    def state(self) -> JobState:
        if self.counts.get(ItemState.WAITING, 0) == 0:
            return JobState.DONE
        return JobState.OPEN if self.cancelled_at is None else JobState.CANCELLED


@dataclass(frozen=True, slots=True, eq=False)
class ItemRow:
    """An input of a job. number: its place, from 1. attempts: how often it has failed. label, score: of the verdict on
    its content, where there is one.
    """

    number: int
    source: str
    metadata: Metadata
    state: ItemState
    attempts: int
    failure: Failure | None
    sha256: str | None
    label: Label | None
    score: float | None


class JobLedger:
    """The jobs of a store. clock: gives the aware "now"."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    @retried
    def begin(self, inputs: Sequence[Input], model: ModelRef, config_sha256: str) -> int:
        """The job of these inputs in this order, with this model and these settings, as it was left; a new one where
        there is none. One that was cancelled is open again.
        """
        key = _key(inputs, model, config_sha256)
        with transaction(self._engine) as connection:
            lock(connection, f"job {key}")
            known = connection.execute(select(jobs.c.id).where(jobs.c.key == key)).scalar()
            if known is not None:
                connection.execute(update(jobs).where(jobs.c.id == known), {"cancelled_at": None})
                return int(known)
            values = {
                "key": key,
                "model_name": model.name,
                "model_sha256": model.sha256,
                "config_sha256": config_sha256,
                "created_at": self._clock(),
            }
            job_id = insert_row(connection, jobs, values)
            if inputs:
                connection.execute(insert(items), list(_rows(job_id, inputs)))
        return job_id

    @retried
    def settle(self, job_id: int, outcomes: Sequence[InputOutcome]) -> None:
        """Note what has become of inputs."""
        if not outcomes:
            return
        with transaction(self._engine) as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id), {"heard_at": self._clock()})
            for outcome in outcomes:
                failure = outcome.failure
                values: dict[str, Any] = {
                    "sha256": outcome.sha256,
                    "state": (ItemState.DONE if failure is None else ItemState.FAILED).value,
                    "failure_kind": None if failure is None else clean_text(failure.kind),
                    "failure_message": None if failure is None else clean_text(failure.message),
                }
                if failure is not None:
                    values["attempts"] = items.c.attempts + 1
                connection.execute(
                    update(items).where(items.c.job_id == job_id, items.c.number == outcome.number).values(values)
                )
            for chunk in chunks([outcome.number for outcome in outcomes if outcome.sha256 is not None]):
                note_copies_of_job(connection, job_id, chunk)

    def spent(self, job_id: int, attempts: int) -> dict[int, Failure]:
        """The inputs that have failed so often, by their numbers, with why."""
        query = select(items.c.number, items.c.failure_kind, items.c.failure_message).where(
            items.c.job_id == job_id, items.c.state == ItemState.FAILED.value, items.c.attempts >= attempts
        )
        with reading(self._engine) as connection:
            return {row[0]: Failure(row[1], row[2]) for row in connection.execute(query)}

    def cancelled(self, job_id: int) -> bool:
        """Whether somebody wants it to end."""
        with reading(self._engine) as connection:
            return connection.execute(select(jobs.c.cancelled_at).where(jobs.c.id == job_id)).scalar() is not None

    @retried
    def cancel(self, job_id: int) -> None:
        """Have a scan that works on it end. Raises StoreError for an unknown job, or one that is done."""
        if self.job(job_id).state is JobState.DONE:
            raise StoreError(f"job {job_id} is done; there is nothing to cancel")
        with transaction(self._engine) as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id), {"cancelled_at": self._clock()})

    @retried
    def retry(self, job_id: int) -> int:
        """Have the next scan try again what failed, however often it did; how many. Raises StoreError for an unknown
        job.
        """
        self.job(job_id)
        with transaction(self._engine) as connection:
            failed = update(items).where(items.c.job_id == job_id, items.c.state == ItemState.FAILED.value)
            return connection.execute(failed, {"state": ItemState.WAITING.value, "attempts": 0}).rowcount

    def jobs(self) -> list[JobRow]:
        """All jobs, the newest first."""
        with reading(self._engine) as connection:
            return _load(connection)

    def job(self, job_id: int) -> JobRow:
        """Raises StoreError for an unknown one."""
        with reading(self._engine) as connection:
            for row in _load(connection, job_id):
                return row
        raise StoreError(f"no job has the id {job_id}", "`streamwatch jobs list` shows them")

    def items(self, job_id: int, state: ItemState | None = None) -> Iterator[ItemRow]:
        """The inputs of a job, or those in one state, in their order, with the verdicts on them."""
        wanted = [] if state is None else [items.c.state == state.value]
        same = and_(
            verdicts.c.sha256 == items.c.sha256,
            verdicts.c.model_sha256 == jobs.c.model_sha256,
            verdicts.c.config_sha256 == jobs.c.config_sha256,
        )
        query = (
            select(items, verdicts.c.label, verdicts.c.score)
            .join(jobs, jobs.c.id == items.c.job_id)
            .outerjoin(verdicts, same)
            .where(items.c.job_id == job_id, *wanted)
            .order_by(items.c.number)
            .execution_options(yield_per=1000)
        )
        with reading(self._engine) as connection:
            for row in connection.execute(query).mappings():
                kind = row["failure_kind"]
                yield ItemRow(
                    number=row["number"],
                    source=row["source"],
                    metadata=json.loads(row["metadata"]),
                    state=ItemState(row["state"]),
                    attempts=row["attempts"],
                    failure=None if kind is None else Failure(kind, row["failure_message"]),
                    sha256=row["sha256"],
                    label=None if row["label"] is None else Label(row["label"]),
                    score=row["score"],
                )


def _key(inputs: Sequence[Input], model: ModelRef, config_sha256: str) -> str:
    listed = [[item.source.absolute().name, dict(item.metadata)] for item in inputs]
    return hashlib.sha256(json.dumps([listed, model.sha256, config_sha256]).encode()).hexdigest()


def _rows(job_id: int, inputs: Sequence[Input]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(inputs, start=1):
        yield {
            "job_id": job_id,
            "number": number,
            "source": clean_text(item.source.name),
            "metadata": clean_json(json.dumps(dict(item.metadata))),
            "state": ItemState.WAITING.value,
            "attempts": 0,
        }


def _load(connection: Connection, job_id: int | None = None) -> list[JobRow]:
    wanted = [] if job_id is None else [jobs.c.id == job_id]
    counts: dict[int, dict[ItemState, int]] = {}
    counting = (
        select(items.c.job_id, items.c.state, func.count())
        .join(jobs, jobs.c.id == items.c.job_id)
        .where(*wanted)
        .group_by(items.c.job_id, items.c.state)
    )
    for job, state, count in connection.execute(counting):
        counts.setdefault(job, {})[ItemState(state)] = count
    return [
        JobRow(
            id=row["id"],
            model=ModelRef(row["model_name"], row["model_sha256"]),
            config_sha256=row["config_sha256"],
            created_at=row["created_at"],
            heard_at=row["heard_at"],
            cancelled_at=row["cancelled_at"],
            counts=counts.get(row["id"], {}),
        )
        for row in connection.execute(select(jobs).where(*wanted).order_by(jobs.c.id.desc())).mappings()
    ]
