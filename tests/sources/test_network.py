"""Sources over the network, on loopback only, and what may not be reached through a source."""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import os
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from streamwatch.bench.loopback.rtsp_server import free_port, serve_rtsp
from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.errors import (
    SourceError,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    SourceUnauthorized,
    SourceUnreadable,
)
from streamwatch.sources import VideoSource, iter_frames
from tests.support import media
from tests.support.silent_server import silent_server

FAST = DecodeSettings(open_timeout=5, read_timeout=5, probe_seconds=0.2)
SPARSE = SamplingSettings(fps=2, min_frames=0)
HASTY = DecodeSettings(open_timeout=0.3, read_timeout=0.3)


@contextlib.contextmanager
def serve_http(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.synthetic_video(tmp_path_factory.mktemp("media") / "clip.mp4", seconds=2)


def test_rtsp_gives_the_frames_of_its_file(clip: Path) -> None:
    expected = list(iter_frames(str(clip), fps=5))
    before = datetime.now(timezone.utc)

    with serve_rtsp(clip) as url, VideoSource(url, FAST, SamplingSettings(fps=5)) as source:
        assert source.live
        assert source.duration is None
        assert (source.codec, source.width, source.height) == ("h264", 160, 96)
        frames = list(source.frames())

    assert abs(len(frames) - len(expected)) <= 1
    for frame, twin in zip(frames, expected, strict=False):
        assert frame.pts == pytest.approx(twin.pts, abs=0.05)
        assert np.abs(frame.image.astype(int) - twin.image).mean() < 6
        assert frame.wall_time is not None
        assert before < frame.wall_time <= datetime.now(timezone.utc)


def test_rtsp_credentials_are_used_and_never_shown(clip: Path) -> None:
    with serve_rtsp(clip, user="bob", password="se/cr@t") as url:
        with VideoSource(url, FAST) as source:
            assert source.source_id.startswith("rtsp://***@127.0.0.1:")
            assert next(source.frames()).source_id == source.source_id
        with pytest.raises(SourceRefused, match="credentials") as caught:
            VideoSource(url.replace("bob", "eve"), FAST)
    shown = "".join(traceback.format_exception(caught.value))
    assert "HTTPUnauthorizedError" in shown
    assert "//eve:" not in shown
    assert "se%2Fcr" not in shown


def test_rtsp_path_that_is_not_there(clip: Path) -> None:
    with serve_rtsp(clip) as url, pytest.raises(SourceNotFound, match=r"absent\.mp4.*no such stream"):
        VideoSource(url.replace("clip.mp4", "absent.mp4"), FAST)


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http"])
def test_connection_refused(scheme: str) -> None:
    url = f"{scheme}://user:pa55word@127.0.0.1:{free_port()}/live/x"
    with pytest.raises(SourceRefused, match="connection refused") as caught:
        VideoSource(url, FAST)
    assert "pa55word" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http"])
def test_a_server_that_says_nothing_times_out(scheme: str) -> None:
    with silent_server() as port:
        begun = time.monotonic()
        with pytest.raises(SourceTimeout, match=r"within 0\.3 s"):
            VideoSource(f"{scheme}://127.0.0.1:{port}/x", HASTY)
        assert time.monotonic() - begun < 3


def test_udp_without_a_sender_times_out() -> None:
    with pytest.raises(SourceTimeout, match="nothing came"):
        VideoSource(f"udp://127.0.0.1:{free_port()}", HASTY)


def test_a_stream_that_stops_times_out(tmp_path: Path) -> None:
    transport = media.encode(tmp_path / "a.ts", frames=50).read_bytes()
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n" + transport
    settings = DecodeSettings(open_timeout=5, read_timeout=0.3, probe_bytes=20_000, probe_seconds=0.2)
    with silent_server(answer) as port, VideoSource(f"http://127.0.0.1:{port}/a.ts", settings) as source:
        assert source.live
        with pytest.raises(SourceTimeout, match=r"within 0\.3 s"):
            list(source.decoded())
        assert source.counts.decoded > 10


def test_a_stream_without_pictures_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = media.encode(tmp_path / "whole.mp4", container_options={"movflags": "faststart"})
    media.corrupted(whole, tmp_path / "a.mp4", start=0.4, share=0.6)
    ticks = itertools.count()
    for module in ("packets", "patience"):
        time = SimpleNamespace(monotonic=lambda: float(next(ticks)))
        monkeypatch.setattr(f"streamwatch.sources.{module}.time", time)

    settings = DecodeSettings(read_timeout=20)  # packets are a tick or two apart
    with serve_http(tmp_path) as root, VideoSource(f"{root}/a.mp4", settings) as source:
        with pytest.raises(SourceTimeout, match="data came, but no picture for 20 s"):
            list(source.decoded())
        assert source.counts.decoded > 0
        assert source.counts.corrupt > 0


def test_http_file_is_not_live(clip: Path) -> None:
    with serve_http(clip.parent) as root, VideoSource(f"{root}/clip.mp4", FAST, SPARSE) as source:
        assert not source.live
        assert source.duration == pytest.approx(2.0, abs=0.05)
        frames = list(source.frames())
    assert [frame.pts for frame in frames] == pytest.approx([0.0, 0.52, 1.0, 1.52])
    assert all(frame.wall_time is None for frame in frames)


def test_http_file_that_is_not_there(tmp_path: Path) -> None:
    with serve_http(tmp_path) as root, pytest.raises(SourceNotFound, match="the server says"):
        VideoSource(f"{root}/absent.mp4", FAST)


def write_playlist(path: Path, segment: str, *, ended: bool = True) -> None:
    end = "#EXT-X-ENDLIST\n" if ended else ""
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{segment}\n{end}")


def test_hls_over_http(tmp_path: Path) -> None:
    media.encode(tmp_path / "a.ts")
    write_playlist(tmp_path / "list.m3u8", "a.ts")
    with serve_http(tmp_path) as root, VideoSource(f"{root}/list.m3u8", FAST, SPARSE) as source:
        assert len(list(source.frames())) == 4


def test_the_variants_of_an_hls_picture_are_one_track(tmp_path: Path) -> None:
    master = "#EXTM3U\n"
    for name, bandwidth in (("low", 100_000), ("high", 900_000)):
        media.encode(tmp_path / f"{name}.ts", frames=50)
        write_playlist(tmp_path / f"{name}.m3u8", f"{name}.ts")
        master += f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth}\n{name}.m3u8\n"
    (tmp_path / "master.m3u8").write_text(master, encoding="utf-8")
    with serve_http(tmp_path) as root, VideoSource(f"{root}/master.m3u8", FAST, SPARSE) as source:
        assert source.video_tracks == 1


def test_a_playlist_from_the_network_cannot_reach_files(tmp_path: Path) -> None:
    secret = media.encode(tmp_path / "secret.ts")
    folder = tmp_path / "www"
    folder.mkdir()
    with serve_http(folder) as root:
        for segment in (f"file://{secret}", f"file:{secret}", str(secret), f"crypto+file://{secret}"):
            write_playlist(folder / "list.m3u8", segment)
            with pytest.raises(SourceError):
                VideoSource(f"{root}/list.m3u8", FAST)
        media.encode(folder / "a.ts")  # the same way in works where it may
        write_playlist(folder / "list.m3u8", "a.ts")
        VideoSource(f"{root}/list.m3u8", FAST).close()


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{clip}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile clip.ts\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 33\n",
    ],
    ids=["hls", "ffconcat", "sdp"],
)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.sdp"])
def test_local_playlists_are_refused(text: str, name: str, tmp_path: Path) -> None:
    clip = media.encode(tmp_path / "clip.ts", frames=5)
    (tmp_path / name).write_text(text.format(clip=clip))
    with pytest.raises(SourceUnreadable, match="not a video"):
        VideoSource(str(tmp_path / name), FAST)


@pytest.mark.parametrize(
    "name", ["concat:{clip}|{clip}", "subfile,,start,0,end,0,,:{clip}", "data:video/mp4;base64,AAAA"]
)
def test_pseudo_protocols_are_just_file_names(name: str, clip: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such file"):
        VideoSource(name.format(clip=clip))


@pytest.mark.parametrize("scheme", ["ftp", "file", "concatf", "crypto", "gopher"])
def test_other_schemes_are_refused(scheme: str, clip: Path) -> None:
    with pytest.raises(SourceRefused, match=rf"{scheme}:// is not allowed"):
        VideoSource(f"{scheme}://{clip}")


def test_missing_files_directories_and_pipes(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"absent\.mp4: no such file"):
        VideoSource(str(tmp_path / "absent.mp4"))
    with pytest.raises(SourceUnreadable, match="is a directory"):
        VideoSource(str(tmp_path))
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with pytest.raises(SourceRefused, match="not a regular file"):
        VideoSource(str(pipe))


def test_a_server_that_cannot_send_parts_is_named(tmp_path: Path) -> None:
    clip = media.encode(tmp_path / "whole.mp4", frames=50).read_bytes()
    index = clip.index(b"moov") - 4
    room = (8 << 20).to_bytes(4, "big") + b"free" + bytes((8 << 20) - 8)
    (tmp_path / "a.mp4").write_bytes(clip[:index] + room + clip[index:])
    said = r"a\.mp4: its index is at the end.*download it"
    with serve_http(tmp_path) as url, pytest.raises(SourceRefused, match=said):
        VideoSource(f"{url}/a.mp4", FAST)


@pytest.mark.parametrize("character", "#/?")
def test_a_password_with_a_character_that_ends_the_host_is_explained(character: str) -> None:
    with pytest.raises(SourceUnauthorized, match=r"%23 %2F %3F") as caught:
        VideoSource(f"rtsp://admin:p{character}ss@127.0.0.1:{free_port()}/x", FAST)
    assert f"p{character}ss" not in str(caught.value)


def test_a_stub_of_a_file_blames_no_server(tmp_path: Path) -> None:
    stub = tmp_path / "two_packets.ts"
    stub.write_bytes(media.encode(tmp_path / "a.ts", frames=5).read_bytes()[:376])
    with pytest.raises(SourceUnreadable, match="damaged beyond reading"):
        VideoSource(stub, FAST)
