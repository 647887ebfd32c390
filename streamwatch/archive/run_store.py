"""What a scan takes from the store and puts into it; without a store, the same questions with empty answers."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from streamwatch.archive.events import LookedUp
from streamwatch.archive.input_queue import QueuedInput, paths_of
from streamwatch.cluster.connection import Actor, result_of
from streamwatch.errors import JobCancelled, StoreError
from streamwatch.pipeline.analyser import Analysis
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.segment_scores import SegmentScores
from streamwatch.records import Content, Failure, ResultKey, SegmentResult, VideoVerdict
from streamwatch.sources import Input
from streamwatch.sources.segments import Segment
from streamwatch.store import Store
from streamwatch.store.jobs import InputOutcome
from streamwatch.store.leases import LEASE


class RunStore:
    """Of a run that keeps nothing: no content is known, each is this run's alone, and saving takes no time."""

    run_id: int | None = None
    job_id: int | None = None
    saving: Any = None
    """Ray's reference to the batch that is on its way into the store; None where there is none."""

    def __init__(self) -> None:
        self.scan_id = uuid.uuid4().hex
        """Tells this scan from all others, whether it is stored or not."""
        self._unsaved: list[tuple[int, VideoVerdict]] = []

    def begin(self, command: str, inputs: Sequence[Input]) -> None:
        """Note that the run begins."""

    def known(self, inputs: Sequence[Input]) -> Mapping[str, Content]:
        """Contents that were hashed before, by their keys."""
        return {}

    def note(self, contents: Sequence[Content]) -> None:
        """Keep hashes for later runs."""

    def spent(self, item: QueuedInput) -> Failure | None:
        """Why an input has failed in earlier runs, where it is not to be tried again."""
        return None

    def look_up(self, item: QueuedInput, *, lease: bool) -> LookedUp:
        """What is stored on the content of an input. lease: where there is nothing, have the content for this run."""
        return LookedUp(item.number, leased=True)

    def segments(self, item: QueuedInput) -> Mapping[str, bytes]:
        """Scores of segments that are stored and can be read, by `Segment.place`."""
        return {}

    def add_segment(self, item: QueuedInput, segment: Segment, scores: bytes) -> None:
        """Have the scores of a segment saved."""

    def add(self, item: QueuedInput, analysis: Analysis) -> None:
        """Have a verdict saved."""
        self._unsaved.append((item.number, analysis.verdict))

    def save(self, writer: Actor | None) -> list[int]:
        """Send what was added to the writer, unless it is still at the last batch. Returns which inputs are saved
        at once.
        """
        unsaved, self._unsaved = self._unsaved, []
        return [number for number, _ in unsaved]

    def saved(self) -> list[int]:
        """Inputs in the batch that `saving` was. Raises StoreError."""
        return []

    def settle(self, outcomes: Sequence[InputOutcome]) -> None:
        """Note what has become of inputs."""

    def renew(self, *, busy: bool) -> None:
        """Keep the contents of this run, as often as that is needed. Raises StoreError."""

    def check_cancelled(self) -> None:
        """Raises JobCancelled where somebody has cancelled the job."""

    def end(self, status: str) -> None:
        """Save what was added, and give back the contents. status: how the run ended."""


class StoredRun(RunStore):
    """Of a run whose results go into a store. resume: use what is stored, and share the work with other runs.
    segments: keep the scores of segments.
    """

    def __init__(self, store: Store, plan: Plan, *, resume: bool, segments: bool) -> None:
        super().__init__()
        self._store = store
        self._plan = plan
        self._resume = resume
        self._keep_segments = segments
        self._segments: list[SegmentResult] = []
        self._spent: dict[int, Failure] = {}
        self._sent: list[tuple[int, VideoVerdict]] = []
        self._renewed = time.monotonic()

    def begin(self, command: str, inputs: Sequence[Input]) -> None:
        plan, settings = self._plan, self._plan.settings
        self.run_id = self._store.begin_run(command, settings.model_dump_json(), settings.digest())
        self.job_id = self._store.jobs.begin(inputs, plan.model, settings.digest())
        if self._resume:
            self._spent = self._store.jobs.spent(self.job_id, settings.engine.attempts)

    def known(self, inputs: Sequence[Input]) -> Mapping[str, Content]:
        return self._store.contents.known(paths_of(inputs))

    def note(self, contents: Sequence[Content]) -> None:
        self._store.contents.note(contents)

    def spent(self, item: QueuedInput) -> Failure | None:
        before = self._spent.get(item.number)
        if before is None:
            return None
        return Failure(before.kind, f"{before.message} (not tried again: `streamwatch jobs retry {self.job_id}`)")

    def look_up(self, item: QueuedInput, *, lease: bool) -> LookedUp:
        key = self._key(item)
        if key is None or not self._resume:
            return LookedUp(item.number, leased=True)
        verdict = self._store.find_verdict(key)
        leased = verdict is None and lease and self._store.leases.take(self._run, key)
        return LookedUp(item.number, verdict, leased)

    def segments(self, item: QueuedInput) -> Mapping[str, bytes]:
        key = self._key(item)
        if key is None or not self._resume:
            return {}
        return {place: data for place, data in self._store.segments.find(key).items() if SegmentScores.can_read(data)}

    def add_segment(self, item: QueuedInput, segment: Segment, scores: bytes) -> None:
        key = self._key(item)
        if key is not None and self._keep_segments:
            self._segments.append(SegmentResult(key, segment.place, scores))

    def save(self, writer: Actor | None) -> list[int]:
        if self.saving is not None or not (self._unsaved or self._segments):
            return []
        if writer is not None:
            self._sent, self._unsaved = self._unsaved, []
            segments, self._segments = self._segments, []
            self.saving = writer.save.remote([*segments, *(verdict for _, verdict in self._sent)])
            return []
        for _, verdict in self._unsaved:  # inputs that could not even be hashed, before there was any work
            self._store.save_verdict(self._run, verdict)
        return super().save(writer)

    def saved(self) -> list[int]:
        result_of(self.saving)
        sent, self._sent, self.saving = self._sent, [], None
        return [number for number, _ in sent]

    def settle(self, outcomes: Sequence[InputOutcome]) -> None:
        if self.job_id is not None:
            self._store.jobs.settle(self.job_id, outcomes)

    def renew(self, *, busy: bool) -> None:
        if busy and time.monotonic() - self._renewed >= LEASE / 5:
            self._renewed = time.monotonic()
            self._store.leases.renew(self._run)

    def check_cancelled(self) -> None:
        if self.job_id is not None and self._store.jobs.cancelled(self.job_id):
            raise JobCancelled(f"job {self.job_id} was cancelled", "the same scan goes on from here")

    def end(self, status: str) -> None:
        if self.run_id is None:
            return
        with contextlib.suppress(StoreError):
            self._store.leases.give_back(self.run_id)
            self._store.save(self.run_id, self._segments)
            for _, verdict in (*self._sent, *self._unsaved):
                self._store.save_verdict(self.run_id, verdict)
            self._store.end_run(self.run_id, status)

    @property
    def _run(self) -> int:
        assert self.run_id is not None
        return self.run_id

    def _key(self, item: QueuedInput) -> ResultKey | None:
        if item.sha256 is None:
            return None
        return ResultKey(item.sha256, self._plan.card.sha256, self._plan.settings.digest())
