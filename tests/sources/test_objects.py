"""Videos in an object store: a real S3 server on loopback."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamwatch.archive.scan import iter_scan
from streamwatch.bench.loopback.fault_proxy import fault_proxy
from streamwatch.bench.loopback.rtsp_server import free_port
from streamwatch.config import DecodeSettings
from streamwatch.errors import (
    LibraryMissing,
    SourceError,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    SourceUnauthorized,
    SourceUnreadable,
)
from streamwatch.records import Label, VideoVerdict
from streamwatch.sources import Location, VideoSource, content_sha256, iter_frames, objects, read_inputs
from streamwatch.sources.container import check_watchable
from streamwatch.sources.content import content_stamp
from streamwatch.store import Filters, Store
from tests.support.face_clips import face_clip
from tests.support.object_store import BUCKET, KEYS, ObjectStore, serve_objects
from tests.support.present import present
from tests.support.small_detectors import light_detector, settings_for

HASTY = DecodeSettings(open_timeout=0.2, read_timeout=0.2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
    pytest.importorskip("moto", reason="moto is not installed")
    with serve_objects(tmp_path_factory.mktemp("s3")) as served, pytest.MonkeyPatch.context() as patch:
        for name, value in served.environment.items():
            patch.setenv(name, value)
        objects._open_store.cache_clear()
        yield served
    objects._open_store.cache_clear()


@contextlib.contextmanager
def endpoint(url: str) -> Iterator[None]:
    """Another one for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        objects._open_store.cache_clear()
        yield
    objects._open_store.cache_clear()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than what FFmpeg reads at once, with its index at its end."""
    return face_clip(tmp_path_factory.mktemp("media") / "clip.mp4", seconds=5, crf=2)


@pytest.fixture(scope="module")
def tree(store: ObjectStore) -> str:
    for key in ("a.MKV", "b.mp4", "notes.txt", "deep/er/c.ts", "deep/[1].mp4", "odd"):
        store.put(f"tree/{key}", key.encode())
    return f"s3://{BUCKET}/tree"


def names(inputs: list[str], tree: str, manifest: str | None = None) -> list[str]:
    return [item.source.text.removeprefix(f"{tree}/") for item in read_inputs(inputs, manifest)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ["a.MKV", "b.mp4", "deep/[1].mp4", "deep/er/c.ts"]),
        ("/", ["a.MKV", "b.mp4", "deep/[1].mp4", "deep/er/c.ts"]),
        ("/deep/", ["deep/[1].mp4", "deep/er/c.ts"]),
        ("/*.mp4", ["b.mp4"]),
        ("/**/*.mp4", ["b.mp4", "deep/[1].mp4"]),
        ("/d*", ["deep/[1].mp4", "deep/er/c.ts"]),
        ("/deep/[1].mp4", ["deep/[1].mp4"]),
        ("/odd", ["odd"]),
        ("/not-looked-for-yet.mp4", ["not-looked-for-yet.mp4"]),
    ],
)
def test_prefixes_globs_and_objects(given: str, expected: list[str], tree: str) -> None:
    assert names([tree + given], tree) == expected


@pytest.mark.parametrize(
    ("given", "reason"),
    [("/none/", "no video below this prefix"), ("/*.avi", "no object matches this pattern"), ("/b", "nor an object")],
)
def test_what_gives_nothing_is_named(given: str, reason: str, tree: str) -> None:
    with pytest.raises(SourceNotFound) as caught:
        read_inputs([tree + given])
    assert str(caught.value).startswith(f"{tree}{given}: ")
    assert reason in str(caught.value)


def test_manifests_that_lie_in_the_store_or_name_its_objects(store: ObjectStore, tree: str, tmp_path: Path) -> None:
    far = store.put("tree/list.csv", f"tape,path\n1,b.mp4\n2,deep/\n3,{tmp_path}/near.mp4\n".encode())
    (tmp_path / "near.mp4").touch()
    found = [(item.source.text, item.metadata) for item in read_inputs([], far)]
    assert found == [
        (f"{tree}/b.mp4", {"tape": "1"}),
        (f"{tree}/deep/[1].mp4", {"tape": "2"}),
        (f"{tree}/deep/er/c.ts", {"tape": "2"}),
        (f"{tmp_path}/near.mp4", {"tape": "3"}),
    ]
    near = tmp_path / "list.txt"
    near.write_text(f"near.mp4\n{tree}/b.mp4\n{tree}/none/\n")
    here, there, nothing = read_inputs([], near)
    assert (here.source.text, there.source.text) == (f"{tmp_path}/near.mp4", f"{tree}/b.mp4")
    assert f"{near}, line 3: {tree}/none/: no video" in str(nothing.failure)
    with pytest.raises(SourceNotFound, match=r"absent\.csv"):
        read_inputs([], f"{tree}/absent.csv")


def test_a_parquet_manifest(store: ObjectStore, tree: str, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"url": ["b.mp4"], "tape": [17]}), tmp_path / "list.parquet")
    manifest = store.put("tree/list.parquet", (tmp_path / "list.parquet").read_bytes())
    assert [(item.source.text, item.metadata) for item in read_inputs([], manifest)] == [
        (f"{tree}/b.mp4", {"tape": 17})
    ]


def test_an_object_has_the_frames_of_its_file(store: ObjectStore, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks so small that it takes many of them."""
    monkeypatch.setattr(objects, "BLOCK", 1 << 16)
    url = store.put("frames.mp4", clip.read_bytes())
    expected, found = list(iter_frames(str(clip), fps=5)), list(iter_frames(url, fps=5))
    assert [frame.pts for frame in found] == [frame.pts for frame in expected]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(found, expected, strict=True))
    assert store.reads().count("frames.mp4") > 3
    with VideoSource(url) as video:
        assert not video.live
        assert video.source_id == url


def test_content_and_its_stamp(store: ObjectStore, clip: Path) -> None:
    url = store.put("content.mp4", clip.read_bytes())
    stamp = content_stamp(Location(url))
    assert stamp is not None
    assert stamp[0] == clip.stat().st_size
    assert (content_stamp(Location(url)), content_sha256(url)) == (stamp, content_sha256(clip))
    store.put("content.mp4", clip.read_bytes()[::-1])
    assert content_stamp(Location(url)) != stamp


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(
    store: ObjectStore, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "BLOCK", 4096)
    monkeypatch.setattr(objects, "BLOCKS", 1)
    url = store.put("replaced.mp4", clip.read_bytes())
    with VideoSource(url) as video:
        frames = video.frames()
        next(frames)
        store.put("replaced.mp4", bytes(clip.stat().st_size))
        with pytest.raises(SourceRefused, match=r"replaced\.mp4: the store cannot be reached, or does not give it"):
            list(frames)


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        (f"s3://{BUCKET}/missing.mp4", SourceNotFound, "no such object or bucket"),
        ("s3://no-such-bucket/a.mp4", SourceNotFound, "no such object or bucket"),
        (f"s3://{BUCKET}/empty.mp4", SourceUnreadable, "is empty"),
        (f"s3://{BUCKET}/text.mp4", SourceUnreadable, "not a video"),
        (f"s3://{BUCKET}/list.mp4", SourceUnreadable, "not a video"),
        ("s3://key:hush@archive/a.mp4", SourceRefused, "credentials do not belong in the URL"),
        ("memory://archive/a.mp4", SourceRefused, "the scheme memory:// is not allowed"),
    ],
)
def test_what_cannot_be_read_is_typed(url: str, kind: type[SourceError], said: str, store: ObjectStore) -> None:
    store.put("empty.mp4", b"")
    store.put("text.mp4", b"no video\n" * 50)
    store.put("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")
    with pytest.raises(kind, match=said) as caught:
        VideoSource(url)
    assert type(caught.value) is kind
    assert "hush" not in str(caught.value)


def test_wrong_credentials(store: ObjectStore) -> None:
    url = store.put("kept.mp4", b"x")
    store.want_known_keys(True)
    try:
        for ask in (VideoSource, content_sha256, lambda url: read_inputs([f"{url}/"])):
            with pytest.raises(SourceUnauthorized, match=r"kept\.mp4.*: the store wants other credentials") as caught:
                ask(url)
            assert not any(secret in str(caught.value) for secret in (KEYS["AWS_SECRET_ACCESS_KEY"], "tester"))
    finally:
        store.want_known_keys(False)


def test_a_store_that_is_not_there(store: ObjectStore) -> None:
    with (
        endpoint(f"http://127.0.0.1:{free_port()}"),
        pytest.raises(SourceRefused, match=r"a\.mp4: the store cannot be reached.*check the endpoint"),
    ):
        VideoSource(f"s3://{BUCKET}/a.mp4")


def test_a_store_that_falls_silent(store: ObjectStore, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK", 4096)
    monkeypatch.setattr(objects, "BLOCKS", 1)
    url = store.put("silent.mp4", clip.read_bytes())
    port = int(store.endpoint.rpartition(":")[2])
    with (
        fault_proxy(port) as proxy,
        endpoint(f"http://127.0.0.1:{proxy.port}"),
        VideoSource(url, HASTY) as video,
    ):
        proxy.black_hole()
        with pytest.raises(SourceTimeout, match=r"silent\.mp4: nothing came within"):
            list(video.frames())


def test_without_its_client_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    objects._open_store.cache_clear()
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(LibraryMissing, match=r"pip install '\.\[s3\]'"):
        read_inputs([f"s3://{BUCKET}/"])


def test_an_object_is_not_watched() -> None:
    with pytest.raises(SourceRefused, match="use `streamwatch scan`"):
        check_watchable(Location(f"s3://{BUCKET}/a.mp4"))


@pytest.mark.ray
@pytest.mark.usefixtures("local_cluster")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves its own sockets to the collector
def test_a_scan_analyses_a_content_once_and_reads_it_not_again(store: ObjectStore, tmp_path: Path) -> None:
    clip = face_clip(tmp_path / "clip.mp4")
    other = store.put("scan/other.mp4", face_clip(tmp_path / "other.mp4", start=40).read_bytes())
    twin = store.put("scan/twin.mp4", clip.read_bytes())
    missing = f"s3://{BUCKET}/scan/missing.mp4"
    settings = settings_for(
        light_detector(tmp_path), store={"url": f"sqlite:///{tmp_path / 'store.db'}"}, engine={"workers": 1}
    )

    def scan() -> dict[str, VideoVerdict]:
        inputs = read_inputs([str(clip), f"s3://{BUCKET}/scan/", missing])
        return {found.verdict.source: found.verdict for found in iter_scan(inputs, settings)}

    first = scan()
    assert set(first) == {str(clip), other, twin, missing}
    assert (first[twin].score, first[twin].sha256) == (first[str(clip)].score, content_sha256(clip))
    assert first[other].score is not None
    assert present(first[missing].failure).kind == "SourceNotFound"
    with Store.open(settings.store.url) as opened:
        stored = {row.verdict.source for row in opened.verdicts(Filters())}
    assert stored == {str(clip), other, missing} or stored == {twin, other, missing}

    before = len(store.reads())
    again = scan()
    assert {name: verdict.score for name, verdict in again.items()} == {name: v.score for name, v in first.items()}
    assert len(store.reads()) == before

    store.put("scan/other.mp4", clip.read_bytes())  # a twin too, by now: no work for a cluster
    changed = scan()
    assert changed[other].sha256 == first[twin].sha256
    assert changed[other].label is not Label.ERROR
    assert len(store.reads()) > before
