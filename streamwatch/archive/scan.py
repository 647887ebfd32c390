"""Scans many files at once: a pool of workers, retries, resuming, copies of the same content."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from streamwatch.archive.file_work import AnnotatedFile, SegmentedFile, WorkItem
from streamwatch.archive.input_queue import InputQueue, QueuedInput, paths_of
from streamwatch.archive.worker import FileWorker
from streamwatch.cluster.connection import LOST, Actor, result_of, usable_cores
from streamwatch.cluster.placing import RunActors, start_actors
from streamwatch.config import Settings
from streamwatch.drawing.annotate import Drawing
from streamwatch.drawing.muxing import Part
from streamwatch.errors import JobCancelled, SourceError, StoreError, StreamwatchError, WorkerLost
from streamwatch.fusion import Subject, error_verdict
from streamwatch.logs import RemoteTraceback
from streamwatch.pipeline.analyser import Analysis, SegmentPlan
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.segment_scores import SegmentScores
from streamwatch.records import Failure, Label, ResultKey, SegmentResult, VideoVerdict
from streamwatch.sources import Input, is_url
from streamwatch.sources.redact import redact_text
from streamwatch.sources.segments import Segment
from streamwatch.store import Store
from streamwatch.store.jobs import InputOutcome
from streamwatch.store.leases import LEASE

logger = logging.getLogger(__name__)

POLL = 0.25
"""Seconds that the loop waits for something to finish before it looks around again."""

LOOK_EVERY = 1.0
"""Seconds between two looks at content that another run works on."""

ASK_EVERY = 0.5
"""Seconds between two questions to the workers how far they are."""


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """done counts inputs, with the shares of those under way: 0 ≤ done ≤ total. job: in the store, if any."""

    done: float
    total: int
    job: int | None = None


def scan(
    inputs: Sequence[str | Input],
    settings: Settings,
    *,
    on_verdict: Callable[[VideoVerdict], None],
    progress: Callable[[ScanProgress], None] | None = None,
    store: bool = True,
    resume: bool = True,
) -> None:
    """Analyse files and tell each verdict as soon as it is stored. Arguments and errors: see `iter_scan`."""
    for analysis in iter_scan(inputs, settings, progress=progress, store=store, resume=resume):
        on_verdict(analysis.verdict)


def iter_scan(
    inputs: Sequence[str | Input],
    settings: Settings,
    *,
    progress: Callable[[ScanProgress], None] | None = None,
    store: bool = True,
    resume: bool = True,
    trace: bool = False,
    annotate: Path | None = None,
    command: str = "scan",
) -> Generator[Analysis, None, None]:
    """Analyse files on `engine.workers` workers; yields one analysis for each input, in the order of
    completion.

    inputs: paths and URLs with an end, as `read_inputs` gives them. progress: hears of it several times a second.
    store: keep results at `store.url`; a result is yielded after its commit. resume: take what the store has
    for the same content, model and settings; needs `store`, and no `trace`. trace: give the traces of all
    faces too. annotate: folder for annotated clips of the files, each under a name of its own that is not
    an input's; implies `trace`.
    command: what the store notes as the command of this run.

    What fails on one input is its verdict `error`, and the rest goes on. Scans that share a store share the work: what
    another one works on is waited for, and taken over where that one has died. Inputs of the same content are
    analysed once and each of them is told, copies without frame scores and pictures. Closing the iterator, or
    an interrupt, keeps what was finished until then. Raises WeightsError, ConfigError or StoreError where
    nothing can be done at all, and JobCancelled where `streamwatch jobs cancel` ended it.
    """
    plan = Plan.resolve(settings)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(Store.open(settings.store.url)) if store else None
        trace = trace or annotate is not None
        run = _Scan(inputs, plan, opened, progress, resume=resume and not trace, trace=trace, annotate=annotate)
        yield from stack.enter_context(contextlib.closing(run.run(command)))


_Result = tuple[Analysis, QueuedInput]
_AnyPiece = WorkItem[SegmentedFile] | WorkItem[AnnotatedFile]


class _Scan:
    """One scan: what is under way, what is finished, what was told."""

    def __init__(
        self,
        inputs: Sequence[str | Input],
        plan: Plan,
        store: Store | None,
        progress: Callable[[ScanProgress], None] | None,
        *,
        resume: bool,
        trace: bool,
        annotate: Path | None,
    ) -> None:
        self._plan = plan
        self._store = store
        self._progress = progress
        self._asked = float("-inf")
        self._shares = 0.0
        self._resume = resume
        self._trace = trace
        self._inputs = [item if isinstance(item, Input) else Input(item) for item in inputs]
        self._annotate = annotate
        self._names: Counter[str] = Counter()
        sources = [] if annotate is None else [item.source for item in self._inputs]
        self._sources = {Path(source).resolve() for source in sources if not is_url(source)}
        self._total = len(inputs)
        self._told = 0
        self._most_workers = self._limit(usable_cores())
        known = {} if store is None else store.contents.known(paths_of(self._inputs))
        self._jobs = InputQueue(self._inputs, 2 * self._most_workers, known)
        self._job_id: int | None = None
        self._spent: dict[int, Failure] = {}
        self._run_id: int | None = None
        self._actors: RunActors | None = None
        self._stack = contextlib.ExitStack()
        self._idle: list[Actor] = []
        self._busy: dict[Any, tuple[Actor, QueuedInput | _AnyPiece]] = {}
        self._cut: list[SegmentedFile] = []
        self._drawn: list[AnnotatedFile] = []
        self._finished: deque[Analysis] = deque()
        self._originals: dict[str, VideoVerdict] = {}
        self._copies: dict[str, list[QueuedInput]] = {}
        self._elsewhere: list[QueuedInput] = []
        self._beat_at = self._look_at = time.monotonic()
        self._segments: list[SegmentResult] = []
        self._unsaved: list[_Result] = []
        self._saving: tuple[Any, list[_Result]] | None = None
        self._ready: deque[_Result] = deque()

    def run(self, command: str) -> Generator[Analysis, None, None]:
        status = "interrupted"
        try:
            if self._store is not None:
                self._open(self._store, command)
            while self._told < self._total:
                self._hand_out()
                self._hold()
                self._save()
                self._wait()
                self._report()
                yield from self._tell()
            status = "done"
        except JobCancelled:
            raise
        except StreamwatchError:
            status = "failed"
            raise
        finally:
            self._end(status)

    def _open(self, store: Store, command: str) -> None:
        plan, settings = self._plan, self._plan.settings
        self._run_id = store.begin_run(command, settings.model_dump_json(), settings.digest())
        self._job_id = store.jobs.begin(self._inputs, plan.model, settings.digest())
        if self._resume:
            self._spent = store.jobs.spent(self._job_id, settings.engine.attempts)

    def _tell(self) -> Iterator[Analysis]:
        """What is finished and stored, noted in the job before, and drawn after that."""
        ready, self._ready = list(self._ready), deque()
        if self._store is not None and self._job_id is not None:
            fresh = [(analysis, job) for analysis, job in ready if job.number not in self._spent]
            self._store.jobs.settle(
                self._job_id,
                [InputOutcome(job.number, job.sha256, analysis.verdict.failure) for analysis, job in fresh],
            )
        for analysis, job in ready:
            if (output := self._clip_of(analysis, job)) is not None:
                self._draw(analysis, job, output)
            else:
                self._finished.append(replace(analysis, metadata=job.metadata))
        while self._finished:
            self._told += 1
            yield self._finished.popleft()

    def _end(self, status: str) -> None:
        """Give everything back. What was finished but not stored yet is stored."""
        self._jobs.close()
        self._stack.close()
        for cut in self._cut:
            cut.end()
        for drawn in self._drawn:
            drawn.drawing.clear()
        if self._store is not None and self._run_id is not None:
            with contextlib.suppress(StoreError):
                self._store.contents.note(self._jobs.take_fresh())
                self._store.leases.give_back(self._run_id)
                self._store.save(self._run_id, self._segments)
                for analysis, _ in (*(self._saving[1] if self._saving else ()), *self._unsaved):
                    self._store.save_verdict(self._run_id, analysis.verdict)
                self._store.end_run(self._run_id, status)

    def _limit(self, cores: int) -> int:
        """Workers at most, on so many cores."""
        return self._plan.settings.engine.workers or cores

    # ── handing out ──

    @property
    def _free(self) -> bool:
        """Whether there is a worker with nothing to do, or may be one."""
        return bool(self._idle) or len(self._busy) < self._most_workers

    def _hand_out(self) -> None:
        """Give files that were begun, then inputs, to workers as long as there are both; what needs no worker is
        finished on the way.
        """
        while self._free and (piece := self._next_piece()) is not None:
            self._go_on(piece)
        while self._free and (job := self._jobs.next()) is not None:
            if job.failure is not None:
                self._spent.pop(job.number, None)
                self._finish(Analysis(error_verdict(self._subject(job), job.failure)), job)
            elif job.number in self._spent:
                self._ready.append((Analysis(self._failed_before(job)), job))
            elif self._told_by_copy(job):
                continue
            elif self._lease(job):
                self._begin(job)
            else:
                self._elsewhere.append(job)

    def _next_piece(self) -> _AnyPiece | None:
        files: list[SegmentedFile | AnnotatedFile] = [*self._drawn, *self._cut]
        return next((piece for file in files if (piece := file.next()) is not None), None)

    def _told_by_copy(self, job: QueuedInput) -> bool:
        """Whether a result of the same content tells this input: one of this run, now or later, or a stored
        one.
        """
        if job.sha256 is None or job.alone or job.attempts or self._trace:
            return False
        original = self._originals.get(job.sha256)
        if original is None and job.sha256 not in self._copies:
            original = self._stored(job)
        if original is not None:
            self._ready.append((Analysis(_told_of(original, job)), job))
            return True
        waiting = self._copies.get(job.sha256)
        if waiting is None:
            self._copies[job.sha256] = []
            return False
        waiting.append(job)
        return True

    def _failed_before(self, job: QueuedInput) -> VideoVerdict:
        """The error of an input that has failed too often to be tried again."""
        subject = self._subject(job)
        before = self._spent[job.number]
        message = f"{before.message} (not tried again: `streamwatch jobs retry {self._job_id}`)"
        return replace(error_verdict(subject, StreamwatchError(message)), failure=Failure(before.kind, message))

    def _stored(self, job: QueuedInput) -> VideoVerdict | None:
        """What the store has on this content, if it is to be asked."""
        key = self._key(job)
        return self._store.find_verdict(key) if key is not None and self._store is not None and self._resume else None

    def _key(self, job: QueuedInput) -> ResultKey | None:
        if job.sha256 is None:
            return None
        return ResultKey(job.sha256, self._plan.card.sha256, self._plan.settings.digest())

    def _lease(self, job: QueuedInput) -> bool:
        """Have the content for this run; not where another run on the same store works on it."""
        key = self._key(job)
        if key is None or self._store is None or self._run_id is None or not self._resume:
            return True
        return self._store.leases.take(self._run_id, key)

    def _hold(self) -> None:
        """Renew the leases, see what has become of the content that other runs work on, and whether to go on."""
        if self._store is None or self._run_id is None:
            return
        now = time.monotonic()
        if self._busy and now - self._beat_at >= LEASE / 5:
            self._beat_at = now
            self._store.leases.renew(self._run_id)
        if now - self._look_at >= LOOK_EVERY:
            self._look_at = now
            if self._job_id is not None and self._store.jobs.cancelled(self._job_id):
                raise JobCancelled(f"job {self._job_id} was cancelled", "the same scan goes on from here")
            waiting, self._elsewhere = self._elsewhere, []
            for job in waiting:
                self._look_again(job)

    def _look_again(self, job: QueuedInput) -> None:
        found = self._stored(job)
        if found is not None:
            self._ready.append((Analysis(_told_of(found, job)), job))
            self._tell_copies(job, found)
        elif self._free and self._lease(job):
            self._begin(job)
        else:
            self._elsewhere.append(job)

    def _begin(self, job: QueuedInput) -> None:
        worker = self._hire()
        job.attempts += 1
        length = self._plan.settings.engine.segment
        self._busy[worker.begin.remote(self._subject(job), job.place, self._trace, length)] = worker, job

    def _go_on(self, piece: _AnyPiece) -> None:
        worker, file, segment = self._hire(), piece.file, piece.segment
        subject = self._subject(file.job)
        if isinstance(file, AnnotatedFile):
            if segment is None:
                reference = worker.join.remote(file.shared, file.results())
            else:
                reference = worker.draw.remote(file.shared, segment)
        elif segment is None:
            reference = worker.fuse.remote(subject, file.cut, file.parts())
        else:
            reference = worker.analyse_segment.remote(subject, file.job.place, segment, self._trace)
        self._busy[reference] = worker, piece

    def _clip_of(self, analysis: Analysis, job: QueuedInput) -> Path | None:
        """Where the annotated clip of a file is to be written; None where there is none to be made."""
        if self._annotate is None or analysis.verdict.label is Label.ERROR or is_url(job.place):
            return None
        stem = Path(job.place).stem
        while True:
            self._names[stem] += 1
            number = self._names[stem]
            output = self._annotate / f"{stem}{f'-{number}' if number > 1 else ''}.mp4"
            if output.resolve() not in self._sources:
                return output

    def _draw(self, analysis: Analysis, job: QueuedInput, output: Path) -> None:
        drawing = Drawing(
            Path(job.place), analysis.traces, analysis.verdict, output.absolute(), self._plan.settings.decode
        )
        drawing.clear()  # what a run that was killed has left
        self._drawn.append(AnnotatedFile(job, replace(analysis, clip=output), drawing, ray.put(drawing)))

    def _hire(self) -> Actor:
        if self._actors is None:
            self._actors = self._stack.enter_context(start_actors(self._plan, self._run_id, self._limit, FileWorker))
            self._most_workers = self._limit(self._actors.cluster.cores)
            self._jobs.ahead = 2 * self._most_workers
        return self._idle.pop() if self._idle else self._actors.take_worker()

    def _subject(self, job: QueuedInput) -> Subject:
        return self._plan.subject(job.name, job.sha256)

    # ── taking in ──

    def _wait(self) -> None:
        """Wait until something is finished, or for `POLL` seconds, and take it in."""
        if self._ready or self._finished:
            return
        loading = self._actors.loading if self._actors is not None else []
        references = [*self._busy, *loading, *([self._saving[0]] if self._saving else [])]
        if not references:
            self._jobs.wait(POLL)
            return
        for reference in ray.wait(references, num_returns=1, timeout=POLL)[0]:
            if reference in self._busy:
                self._take(reference)
            elif reference in loading:
                loading.remove(reference)
                result_of(reference)
            elif self._saving is not None:
                result_of(reference)
                self._ready.extend(self._saving[1])
                self._saving = None

    def _take(self, reference: Any) -> None:
        worker, work = self._busy.pop(reference)
        job = work.file.job if isinstance(work, WorkItem) else work
        try:
            found: Analysis | SegmentPlan | bytes | Part | Failure | None = ray.get(reference)
        except LOST:
            self._lose(work, job)
            return
        except RayTaskError as error:
            drawn = isinstance(work, WorkItem) and isinstance(work.file, AnnotatedFile)
            if isinstance(error.cause, StreamwatchError) and not (drawn and isinstance(error.cause, SourceError)):
                raise error.cause from error
            found = self._failure(error, job)
            if not drawn:
                failed = error_verdict(self._subject(job), StreamwatchError(found.message))
                found = Analysis(replace(failed, failure=found))
        if isinstance(found, Analysis) and found.traceback:
            logger.error("%s: the detector failed", job.name, exc_info=RemoteTraceback(found.traceback))
        self._idle.append(worker)
        if isinstance(found, SegmentPlan):
            self._cut.append(SegmentedFile(job, found, self._stored_segments(job)))
        elif not isinstance(work, WorkItem):
            assert isinstance(found, Analysis)
            self._finish(found, job)
        elif isinstance(work.file, AnnotatedFile):
            assert not isinstance(found, (Analysis, bytes))
            self._take_drawn(work.file, work.segment, found)
        else:
            assert isinstance(found, (Analysis, bytes))
            self._take_scores(work.file, work.segment, found)

    @staticmethod
    def _failure(error: RayTaskError, job: QueuedInput) -> Failure:
        if isinstance(error.cause, StreamwatchError):
            return Failure(type(error.cause).__name__, str(error.cause))
        logger.error("%s: its worker failed", job.name, exc_info=error)
        return Failure(type(error.cause).__name__, redact_text(f"{job.name}: {error.cause}"))

    def _take_drawn(self, file: AnnotatedFile, segment: Segment | None, found: Part | Failure | None) -> None:
        if file.over:
            file.drawing.clear()
        elif isinstance(found, Failure):
            self._end_clip(file, found)
        elif segment is None:
            self._end_clip(file)
        else:
            file.done(segment, found)

    def _end_clip(self, file: AnnotatedFile, failure: Failure | None = None) -> None:
        file.over = True
        file.drawing.clear()
        self._drawn.remove(file)
        analysis = file.analysis if failure is None else replace(file.analysis, clip=failure)
        self._finished.append(replace(analysis, metadata=file.job.metadata))

    def _take_scores(self, file: SegmentedFile, segment: Segment | None, found: Analysis | bytes) -> None:
        if file.over:
            return
        if isinstance(found, Analysis):
            self._end_file(file, found)
        elif segment is not None:
            file.take(segment, found)
            key = self._key(file.job)
            if key is not None and self._store is not None and not self._trace:
                self._segments.append(SegmentResult(key, segment.place, found))

    def _end_file(self, file: SegmentedFile, analysis: Analysis) -> None:
        file.end()
        self._cut.remove(file)
        self._finish(replace(analysis, segments=file.segments), file.job)

    def _stored_segments(self, job: QueuedInput) -> dict[str, bytes]:
        """What the store has on parts of this content and can still be read, if it is to be asked."""
        key = self._key(job)
        if key is None or self._store is None or not self._resume:
            return {}
        return {place: data for place, data in self._store.segments.find(key).items() if SegmentScores.can_read(data)}

    def _lose(self, work: QueuedInput | _AnyPiece, job: QueuedInput) -> None:
        """The process that worked on it has died."""
        attempts = self._plan.settings.engine.attempts
        if isinstance(work, WorkItem):
            if work.file.over or work.file.lost(work.segment, attempts):
                return
        elif work.attempts < attempts:
            self._jobs.put_back(work)
            return
        lost = WorkerLost(
            f"{job.name}: the process that worked on it died {attempts} times",
            "leave it out, or scan it with --workers 1 and watch the memory",
        )
        failed = Analysis(error_verdict(self._subject(job), lost))
        if not isinstance(work, WorkItem):
            self._finish(failed, job)
        elif isinstance(work.file, AnnotatedFile):
            self._end_clip(work.file, Failure(type(lost).__name__, str(lost)))
        else:
            self._end_file(work.file, failed)

    def _finish(self, analysis: Analysis, job: QueuedInput) -> None:
        (self._ready if self._store is None else self._unsaved).append((analysis, job))
        if job.sha256 is None:
            return
        if analysis.verdict.label is Label.ERROR:
            for copy in self._copies.pop(job.sha256, []):
                copy.alone = True
                self._jobs.put_back(copy)
        else:
            self._tell_copies(job, analysis.verdict)

    def _tell_copies(self, job: QueuedInput, verdict: VideoVerdict) -> None:
        assert job.sha256 is not None
        self._originals[job.sha256] = _without_pictures(verdict)
        copies = self._copies.pop(job.sha256, [])
        self._ready.extend((Analysis(_told_of(self._originals[job.sha256], copy)), copy) for copy in copies)

    def _save(self) -> None:
        """Send everything finished to the writer, unless it is still at the last batch."""
        if self._store is not None:
            self._store.contents.note(self._jobs.take_fresh())
        if self._store is None or self._run_id is None or self._saving is not None:
            return
        if not (self._unsaved or self._segments):
            return
        unsaved, self._unsaved = self._unsaved, []
        if self._actors is not None and self._actors.writer is not None:
            segments, self._segments = self._segments, []
            items = [*segments, *(analysis.verdict for analysis, _ in unsaved)]
            self._saving = self._actors.writer.save.remote(items), unsaved
            return
        for analysis, _ in unsaved:  # inputs that could not even be hashed, before there was any work
            self._store.save_verdict(self._run_id, analysis.verdict)
        self._ready.extend(unsaved)

    def _report(self) -> None:
        if self._progress is None:
            return
        if not self._busy:
            self._shares = 0.0
        elif time.monotonic() - self._asked >= ASK_EVERY:
            self._asked = time.monotonic()
            files: list[SegmentedFile | AnnotatedFile] = [*self._cut, *self._drawn]
            shares = sum(file.share for file in files) + len(self._drawn)
            asked = {
                worker.share.remote(): work.file.weight if isinstance(work, WorkItem) else 1.0
                for worker, work in self._busy.values()
            }
            for answer in ray.wait([*asked], num_returns=len(asked), timeout=POLL)[0]:
                with contextlib.suppress(*LOST):
                    shares += asked[answer] * ray.get(answer)
            self._shares = shares if self._annotate is None else shares / 2  # half of it is drawing
        self._progress(ScanProgress(min(self._told + self._shares, self._total), self._total, self._job_id))


def _told_of(original: VideoVerdict, job: QueuedInput) -> VideoVerdict:
    """The verdict on the same content, under the name of another input."""
    alerts = tuple(replace(alert, source=job.name) for alert in original.alerts)
    return replace(original, source=job.name, alerts=alerts)


def _without_pictures(verdict: VideoVerdict) -> VideoVerdict:
    """A verdict small enough to be kept for copies that may come."""
    return replace(
        verdict,
        tracks=tuple(replace(track, evidence=()) for track in verdict.tracks),
        alerts=tuple(replace(alert, evidence=()) for alert in verdict.alerts),
        scores=(),
    )
