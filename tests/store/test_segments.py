"""Parts of long files, kept until the verdict on the file is there; on SQLite and PostgreSQL."""

from __future__ import annotations

import dataclasses

from streamwatch.records import Failure, Label, ResultKey, SegmentResult
from streamwatch.store import Store
from tests.support.builders import CONFIG, full_verdict

KEY = ResultKey(full_verdict().sha256 or "", full_verdict().model.sha256, CONFIG)
PARTS = [SegmentResult(KEY, ":100", b"first\0"), SegmentResult(KEY, "100:", b"second")]


def test_the_last_result_of_a_part_is_kept(store: Store, run: int) -> None:
    store.save(run, PARTS)
    store.save(run, [dataclasses.replace(PARTS[0], data=b"again")])
    assert store.segments.find(KEY) == {":100": b"again", "100:": b"second"}
    assert store.segments.find(KEY._replace(config_sha256="d" * 64)) == {}


def test_parts_go_with_the_verdict_that_rests_on_them(store: Store, run: int) -> None:
    other = [SegmentResult(KEY._replace(config_sha256="d" * 64), ":100", b"of other settings")]
    store.save(run, [*PARTS, *other])
    store.save_verdict(run, full_verdict())
    assert store.segments.find(KEY) == {}
    assert store.segments.find(other[0].key) == {":100": b"of other settings"}
    store.save(run, PARTS)
    store.save_verdict(run, full_verdict())
    assert store.segments.find(KEY) == {}, "the verdict was stored already"


def test_parts_stay_where_another_part_failed(store: Store, run: int) -> None:
    store.save(run, PARTS)
    failed = dataclasses.replace(
        full_verdict(),
        label=Label.ERROR,
        score=None,
        tracks=(),
        alerts=(),
        scores=(),
        failure=Failure("WorkerLost", "x"),
    )
    store.save_verdict(run, failed)
    assert len(store.segments.find(KEY)) == 2
