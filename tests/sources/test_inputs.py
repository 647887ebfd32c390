from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from streamwatch.errors import SourceNotFound, SourceUnreadable
from streamwatch.sources import Location, content_sha256, expand_inputs, redact


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", "deep/er/c.ts", "deep/[1].mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(sources: list[Location], folder: Path) -> list[str]:
    return [str(source.path.relative_to(folder)) for source in sources]


def test_directories_are_searched_below_for_videos(archive: Path) -> None:
    assert names(expand_inputs([str(archive)]), archive) == ["a.MKV", "b.mp4", "deep/[1].mp4", "deep/er/c.ts"]


def test_globs_may_cross_directories(archive: Path) -> None:
    assert names(expand_inputs([f"{archive}/**/*.mp4"]), archive) == ["b.mp4", "deep/[1].mp4"]
    assert names(expand_inputs([f"{archive}/d*"]), archive) == ["deep/[1].mp4", "deep/er/c.ts"]


def test_a_file_is_taken_by_name_whatever_it_looks_like(archive: Path) -> None:
    assert names(expand_inputs([f"{archive}/deep/[1].mp4", f"{archive}/notes.txt"]), archive) == [
        "deep/[1].mp4",
        "notes.txt",
    ]


def test_order_is_kept_and_doubles_are_removed(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive)
    url = "rtsp://camera/1"
    found = expand_inputs(["b.mp4", url, "./b.mp4", "deep/../b.mp4", url, "a.MKV"])
    assert [source.text for source in found] == ["b.mp4", url, "a.MKV"]


def test_manifest_paths_are_relative_to_the_manifest(archive: Path) -> None:
    manifest = archive / "deep" / "list.txt"
    manifest.write_text("\ufeff# cameras\n\n ../b.mp4 \nrtsp://camera/1#x\ner\n[1].mp4\n", encoding="utf-8")

    sources = expand_inputs([str(archive / "b.mp4")], manifest)

    assert sources[1].text == "rtsp://camera/1#x"
    assert [source.path.name for source in sources] == ["b.mp4", "1#x", "c.ts", "[1].mp4"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("missing.mp4", "no such file or directory"),
        ("*.avi", "no file matches this pattern"),
        ("empty", "no video file below"),
    ],
)
def test_what_gives_nothing_is_named(item: str, reason: str, archive: Path) -> None:
    (archive / "empty").mkdir()
    with pytest.raises(SourceNotFound) as caught:
        expand_inputs([str(archive / "b.mp4"), str(archive / item)])
    assert f"{archive / item}: {reason}" in str(caught.value)

    manifest = archive / "list.txt"
    manifest.write_text(f"b.mp4\n{item}\n")
    with pytest.raises(SourceNotFound) as caught:
        expand_inputs([], manifest)
    assert str(caught.value).startswith(f"{manifest}, line 2: {archive / item}: {reason}")


def test_nothing_to_do_is_an_error(archive: Path) -> None:
    with pytest.raises(SourceNotFound, match="no input given"):
        expand_inputs([])
    manifest = archive / "list.txt"
    manifest.write_text("# nothing\n")
    with pytest.raises(SourceNotFound, match=r"list\.txt: names no input"):
        expand_inputs([], manifest)
    with pytest.raises(SourceNotFound, match=r"absent\.txt: no such manifest"):
        expand_inputs([], archive / "absent.txt")
    manifest.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceUnreadable, match=r"list\.txt: not UTF-8 text"):
        expand_inputs([], manifest)


def test_content_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    path = tmp_path / "x"
    path.write_bytes(data)
    assert content_sha256(path) == hashlib.sha256(data).hexdigest()
    with pytest.raises(SourceNotFound, match="absent: no such file"):
        content_sha256(tmp_path / "absent")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:pa55@10.0.0.1:554/ch1", "rtsp://***@10.0.0.1:554/ch1"),
        ("rtsp://admin@cam/ch1", "rtsp://***@cam/ch1"),
        ("rtsp://admin:p@ss@cam/ch1", "rtsp://***@cam/ch1"),
        ("rtsp://admin:p/a?s#s@cam/ch1", "rtsp://***@cam/ch1"),
        ("rtsp://[::1]:8554/ch1", "rtsp://[::1]:8554/ch1"),
        ("rtsp://u:p@[::1]:8554/ch1", "rtsp://***@[::1]:8554/ch1"),
        ("https://host/@user/clip@2x.mp4", "https://host/@user/clip@2x.mp4"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        ("https://h/v.m3u8?id=7&token=abc&x=1", "https://h/v.m3u8?id=7&token=***&x=1"),
        ("https://h/v.m3u8?X-Amz-Signature=abc&Policy=q", "https://h/v.m3u8?X-Amz-Signature=***&Policy=***"),
        ("https://h/v?API_KEY=abc#access_token=q", "https://h/v?API_KEY=***#access_token=***"),
        ("srt://h:9000?passphrase=abc&mode=caller", "srt://h:9000?passphrase=***&mode=caller"),
        ("https://h/v?monkey=1&token=", "https://h/v?monkey=1&token="),
        ("/data/u:p@x/clip.mp4", "/data/u:p@x/clip.mp4"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown
    assert redact(shown) == shown


def test_the_package_alone_does_not_load_ffmpeg() -> None:
    code = "import sys, streamwatch.sources as s; s.redact('x'); sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_links_that_lead_in_a_circle_hang_and_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    for name in ("a.mp4", "deep/b.mp4", "deep/er/c.mp4", ".hidden.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    for number in range(3):
        (folder / f"up{number}").symlink_to(tmp_path)
    assert [Path(str(each)).name for each in expand_inputs([str(tmp_path)])] == [
        ".hidden.mp4", "a.mp4", "b.mp4", "c.mp4", "self.mp4"
    ]  # fmt: skip
    expected = ["a.mp4", "b.mp4", "c.mp4"]
    assert [each.path.name for each in expand_inputs([f"{tmp_path}/**/[a-c].mp4"])] == expected
    assert [each.path.name for each in expand_inputs([f"{tmp_path}/**/er/**/*.mp4"])] == ["c.mp4"]
    monkeypatch.chdir(tmp_path)
    assert [str(each) for each in expand_inputs(["**/[a-c].mp4"])] == ["a.mp4", "deep/b.mp4", "deep/er/c.mp4"]
    assert [str(each) for each in expand_inputs(["deep/**"])] == ["deep/b.mp4", "deep/er/c.mp4"]
