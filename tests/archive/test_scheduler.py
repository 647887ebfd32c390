"""The scheduler of a scan, without Ray: whatever order results and losses come in, each input is delivered once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamwatch.archive.events import (
    Analysed,
    ClipDone,
    Deliver,
    Event,
    InputReady,
    Instruction,
    Kind,
    LookedUp,
    LookUp,
    Planned,
    Resized,
    Save,
    Saved,
    SegmentDone,
    Settle,
    Start,
    Task,
    Tick,
    WorkLost,
)
from streamwatch.archive.input_queue import QueuedInput
from streamwatch.archive.scheduler import Scheduler, failed_verdict
from streamwatch.errors import SourceNotFound
from streamwatch.fusion import Subject
from streamwatch.pipeline.analyser import Analysis
from streamwatch.records import Failure, Label, ModelRef, VideoVerdict
from streamwatch.sources import Location
from streamwatch.sources.segments import Segment
from tests.support.builders import make_verdict

ATTEMPTS = 2

SEGMENTS = tuple(Segment(n or None, n + 1) for n in range(3))


def subject(item: QueuedInput) -> Subject:
    return Subject(item.source.name, item.sha256, ModelRef("m2tr", "0" * 64), "c" * 64, "default")


def verdict(item: QueuedInput) -> VideoVerdict:
    return make_verdict(item.source.name, sha256=item.sha256, label=Label.REAL, score=0.25, duration=3.0, tracks=())


def failed(item: QueuedInput) -> Analysis:
    return Analysis(failed_verdict(subject(item), Failure("SourceUnreadable", f"{item.source.name}: damaged")))


def scheduler(total: int, *, slots: int = 2, share: bool = True, draw: bool = False) -> Scheduler:
    return Scheduler(total, slots, attempts=ATTEMPTS, subject=subject, share=share, draw=draw)


def item(number: int, sha256: str | None = "a") -> QueuedInput:
    return QueuedInput(Location(f"{number}.mp4"), number, {"number": number}, sha256)


# ── any order ──


@dataclass
class World:
    """What happens outside of the scheduler, in an order that `choose` gives."""

    scheduler: Scheduler
    items: dict[int, QueuedInput]
    choose: Callable[[Sequence[object]], object]
    stored: set[str] = field(default_factory=set)
    """Contents that the store has a verdict on."""
    others: set[str] = field(default_factory=set)
    """Contents that another run works on."""
    spent: set[int] = field(default_factory=set)
    pending: list[object] = field(default_factory=list)
    """Inputs, tasks and saves that something comes of."""
    running: set[Task] = field(default_factory=set)
    started: list[Task] = field(default_factory=list)
    deaths: Counter[Task] = field(default_factory=Counter)
    settled: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    delivered: list[tuple[int, Analysis]] = field(default_factory=list)
    slots: int = 2

    def handle(self, event: Event) -> None:
        for instruction in self.scheduler.handle(event):
            self.follow(instruction)
        assert len(self.running) <= self.slots

    def follow(self, instruction: Instruction) -> None:
        match instruction:
            case Start(task):
                assert task not in self.running
                self.running.add(task)
                self.started.append(task)
                self.pending.append(task)
            case Deliver(item, analysis):
                assert item.number not in self.saved or item.number in self.settled, "noted in the job before"
                self.delivered.append((item.number, analysis))
            case Settle(item, _):
                self.settled.append(item.number)
            case LookUp() | Save():
                self.pending.append(instruction)

    def step(self) -> None:
        """Something happens."""
        chosen = self.choose(self.pending)
        self.pending.remove(chosen)
        match chosen:
            case QueuedInput():
                spent = Failure("WorkerLost", "died before") if chosen.number in self.spent else None
                self.handle(InputReady(chosen, spent))
            case LookUp(item, lease):
                known = verdict(item) if item.sha256 in self.stored else None
                if item.sha256 in self.others and self.choose([False, True]):
                    self.others.discard(item.sha256)
                leased = known is None and lease and item.sha256 not in self.others
                self.handle(LookedUp(item.number, known, leased))
            case Save(item, _):
                self.saved.append(item.number)
                self.handle(Saved(item.number))
            case Task():
                self.running.remove(chosen)
                self.handle(self.outcome(chosen))

    def outcome(self, task: Task) -> Event:
        item = self.items[task.number]
        done: Event = SegmentDone(task)
        if task.kind in (Kind.OPEN, Kind.FUSE):
            done = Analysed(task, Analysis(verdict(item), segments=SEGMENTS[:2]))
        if task.kind is Kind.JOIN:
            done = ClipDone(task, Path(f"{task.number}.mp4"))
        drawing = task.kind in (Kind.DRAW, Kind.JOIN)
        error = ClipDone(task, Failure("SourceEnded", "cut off")) if drawing else Analysed(task, failed(item))
        outcomes: list[Event] = [done, WorkLost(task), error]
        if task.kind is Kind.OPEN:
            known = [segment for segment in SEGMENTS if self.choose([False, True])]
            outcomes.append(Planned(task, SEGMENTS, known))
        event = self.choose(outcomes)
        if isinstance(event, WorkLost):
            self.deaths[task] += 1
            assert self.deaths[task] <= ATTEMPTS
        return event  # type: ignore[return-value]  # one of the outcomes

    def run(self, steps: int = 1000) -> None:
        for _ in range(steps):
            if self.scheduler.finished:
                return
            if not self.pending:
                self.handle(Tick())
            if self.pending:
                self.step()
        pytest.fail("it does not end")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    contents = draw(st.lists(st.sampled_from(["a", "b", None, "missing"]), min_size=3, max_size=3))
    items = {}
    for number, content in enumerate(contents, start=1):
        missing = content == "missing"
        items[number] = QueuedInput(
            Location(f"{number}.mp4"),
            number,
            sha256=None if missing else content,
            failure=SourceNotFound(f"{number}.mp4: no such file") if missing else None,
        )
    share, clips = draw(st.sampled_from([(True, False), (False, False), (False, True)]))
    some = st.sets(st.sampled_from(["a", "b"]), max_size=1)
    return World(
        scheduler(3, share=share, draw=clips),
        items,
        lambda among: draw(st.sampled_from(list(among))),
        stored=draw(some) if share else set(),
        others=draw(some) if share else set(),
        spent=draw(st.sets(st.integers(1, 3), max_size=1)),
        pending=list(items.values()),
    )


@given(worlds())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_each_input_is_delivered_once_in_any_order_of_results_and_losses(world: World) -> None:
    world.run()
    assert sorted(number for number, _ in world.delivered) == [1, 2, 3]
    assert not world.running - {task for task in world.pending if isinstance(task, Task)}
    assert len(set(world.settled)) == len(world.settled)
    assert len(set(world.saved)) == len(world.saved)
    for number, analysis in world.delivered:
        found = world.items[number]
        assert analysis.verdict.source == found.source.name
        assert (analysis.verdict.label is Label.ERROR) == (analysis.verdict.failure is not None)
        tried_before = number in world.spent and found.failure is None
        assert (number in world.settled) != tried_before
        if found.failure is not None:
            assert analysis.verdict.failure == Failure("SourceNotFound", f"{number}.mp4: no such file")
        elif found.sha256 in world.stored and not tried_before:
            assert analysis.verdict.label is Label.REAL


@given(worlds(), st.integers(0, 20))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_run_that_is_cut_off_anywhere_is_completed_by_the_next(world: World, steps: int) -> None:
    for _ in range(steps):
        if world.pending:
            world.step()
    assert {number for number, _ in world.delivered} <= {*world.settled, *world.spent}
    finished = {world.items[number].sha256 for number, analysis in world.delivered if analysis.verdict.failure is None}
    share = bool(world.stored or world.others)
    again = World(
        scheduler(3, share=share),
        world.items,
        world.choose,
        stored={*world.stored, *(sha256 for sha256 in finished if sha256 is not None)} if share else set(),
        pending=list(world.items.values()),
    )
    again.run()
    assert sorted(number for number, _ in again.delivered) == [1, 2, 3]
    worked_on = {world.items[task.number].sha256 for task in again.started}
    assert not worked_on & again.stored, "what is stored is not worked on again"


# ── one case at a time ──


def starts(instructions: Sequence[Instruction]) -> list[tuple[Kind, int]]:
    return [(each.task.kind, each.task.number) for each in instructions if isinstance(each, Start)]


def begin(one: Scheduler, *items: QueuedInput) -> None:
    for each in items:
        one.handle(InputReady(each))
        one.handle(LookedUp(each.number, leased=True))


def task(kind: Kind, number: int, segment: Segment | None = None) -> Task:
    return Task(kind, number, segment)


def test_segments_of_a_file_come_before_further_files_and_its_verdict_at_last() -> None:
    one = scheduler(2, slots=1)
    begin(one, item(1, "a"))
    assert not one.wants_input
    begin(one, item(2, "b"))
    found = one.handle(Planned(task(Kind.OPEN, 1), SEGMENTS, SEGMENTS[1:]))
    assert found == [Start(task(Kind.ANALYSE, 1, SEGMENTS[0]))]
    assert one.progress == pytest.approx(2 / 3)
    assert one.weight(task(Kind.ANALYSE, 1, SEGMENTS[0])) == pytest.approx(1 / 3)
    assert one.handle(SegmentDone(task(Kind.ANALYSE, 1, SEGMENTS[0]))) == [Start(task(Kind.FUSE, 1))]
    save, start = one.handle(Analysed(task(Kind.FUSE, 1), Analysis(verdict(item(1)))))
    assert isinstance(save, Save)
    assert save.analysis.segments == SEGMENTS
    assert start == Start(task(Kind.OPEN, 2))
    settle, deliver = one.handle(Saved(1))
    assert (type(settle), type(deliver)) == (Settle, Deliver)
    assert isinstance(deliver, Deliver)
    assert deliver.analysis.metadata == {"number": 1}


def test_a_file_that_is_known_in_all_its_segments_only_needs_its_verdict() -> None:
    one = scheduler(1)
    begin(one, item(1))
    assert one.handle(Planned(task(Kind.OPEN, 1), SEGMENTS, SEGMENTS)) == [Start(task(Kind.FUSE, 1))]


def test_a_file_without_segments_to_look_at_only_needs_its_verdict() -> None:
    one = scheduler(1)
    begin(one, item(1))
    assert one.handle(Planned(task(Kind.OPEN, 1), ())) == [Start(task(Kind.FUSE, 1))]


def test_an_input_that_kills_workers_comes_after_all_others_and_ends_as_an_error() -> None:
    one = scheduler(2, slots=1)
    begin(one, item(1, "a"))
    assert one.handle(WorkLost(task(Kind.OPEN, 1))) == []
    assert one.wants_input
    one.handle(InputReady(item(2, "b")))
    assert starts(one.handle(LookedUp(2, leased=True))) == [(Kind.OPEN, 2)]
    assert starts(one.handle(Analysed(task(Kind.OPEN, 2), Analysis(verdict(item(2)))))) == [(Kind.OPEN, 1)]
    (save,) = one.handle(WorkLost(task(Kind.OPEN, 1)))
    assert isinstance(save, Save)
    assert save.analysis.verdict.failure is not None
    assert save.analysis.verdict.failure.kind == "WorkerLost"
    assert "died 2 times" in save.analysis.verdict.failure.message


def test_a_segment_that_kills_workers_ends_its_file_and_late_results_are_ignored() -> None:
    one = scheduler(1)
    begin(one, item(1))
    first, second, third = (task(Kind.ANALYSE, 1, segment) for segment in SEGMENTS)
    assert one.handle(Planned(task(Kind.OPEN, 1), SEGMENTS)) == [Start(first), Start(second)]
    assert one.handle(WorkLost(first)) == [Start(first)], "at once, before the third"
    (save,) = one.handle(WorkLost(first))[:1]
    assert isinstance(save, Save)
    assert one.handle(SegmentDone(second)) == []
    assert one.handle(SegmentDone(third)) == []
    assert isinstance(one.handle(Saved(1))[-1], Deliver)
    assert one.finished


def test_copies_wait_for_the_first_and_carry_their_own_names() -> None:
    one = scheduler(3)
    begin(one, item(1))
    assert one.handle(InputReady(item(2))) == []
    one.handle(Analysed(task(Kind.OPEN, 1), Analysis(verdict(item(1)))))
    delivered = [each for each in one.handle(Saved(1)) if isinstance(each, Deliver)]
    assert {each.analysis.verdict.source for each in delivered} == {"1.mp4", "2.mp4"}
    settle, deliver = one.handle(InputReady(item(3)))
    assert isinstance(settle, Settle)
    assert isinstance(deliver, Deliver)
    assert deliver.analysis.verdict.source == "3.mp4"


def test_copies_of_what_failed_are_tried_on_their_own() -> None:
    one = scheduler(2)
    begin(one, item(1))
    one.handle(InputReady(item(2)))
    one.handle(Analysed(task(Kind.OPEN, 1), failed(item(1))))
    assert LookUp(item(2), lease=True) in one.handle(Saved(1))
    assert starts(one.handle(LookedUp(2, leased=True))) == [(Kind.OPEN, 2)]


def test_content_of_another_run_is_looked_at_again_and_taken_over() -> None:
    one = scheduler(1)
    one.handle(InputReady(item(1)))
    assert one.handle(LookedUp(1)) == []
    assert one.handle(Tick()) == [LookUp(item(1), lease=True)]
    assert one.handle(LookedUp(1)) == []
    one.handle(Tick())
    assert starts(one.handle(LookedUp(1, leased=True))) == [(Kind.OPEN, 1)]


def test_content_of_another_run_is_not_leased_without_a_worker_for_it() -> None:
    one = scheduler(2, slots=1)
    one.handle(InputReady(item(1, "a")))
    one.handle(LookedUp(1))
    begin(one, item(2, "b"))
    assert one.handle(Tick()) == [LookUp(item(1, "a"), lease=False)]


def test_more_slots_start_what_waits() -> None:
    one = scheduler(1, slots=1)
    begin(one, item(1))
    one.handle(Planned(task(Kind.OPEN, 1), SEGMENTS))
    assert starts(one.handle(Resized(3))) == [(Kind.ANALYSE, 1)] * 2


def test_a_clip_is_drawn_once_the_verdict_is_saved_and_its_failure_spares_the_verdict() -> None:
    one = scheduler(1, slots=1, share=False, draw=True)
    begin(one, item(1))
    one.handle(Analysed(task(Kind.OPEN, 1), Analysis(verdict(item(1)), segments=SEGMENTS[:2])))
    settle, start = one.handle(Saved(1))
    assert isinstance(settle, Settle)
    assert start == Start(task(Kind.DRAW, 1, SEGMENTS[0]))
    assert one.progress == pytest.approx(0.5)
    assert one.handle(SegmentDone(task(Kind.DRAW, 1, SEGMENTS[0]))) == [Start(task(Kind.DRAW, 1, SEGMENTS[1]))]
    failure = Failure("SourceEnded", "cut off")
    (deliver,) = one.handle(ClipDone(task(Kind.DRAW, 1, SEGMENTS[1]), failure))
    assert isinstance(deliver, Deliver)
    assert (deliver.analysis.clip, deliver.analysis.verdict.label) == (failure, Label.REAL)
    assert one.finished


def test_urls_and_errors_are_not_drawn() -> None:
    one = scheduler(2, share=False, draw=True)
    url = QueuedInput(Location("http://host/a.mp4"), 1)
    begin(one, url, item(2))
    one.handle(Analysed(task(Kind.OPEN, 1), Analysis(verdict(url))))
    one.handle(Analysed(task(Kind.OPEN, 2), failed(item(2))))
    for number in (1, 2):
        deliver = one.handle(Saved(number))[-1]
        assert isinstance(deliver, Deliver)
        assert deliver.analysis.clip is None
