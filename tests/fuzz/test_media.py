"""Whatever bytes a file or a server gives, decoding ends within its limits, with pictures or a typed error."""

from __future__ import annotations

import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamwatch.config import DecodeSettings, SamplingSettings
from streamwatch.errors import SourceError
from streamwatch.sources.location import Location
from streamwatch.sources.process import Closed, DecoderDied, DecodingProcess
from tests.support.media import encode

pytestmark = pytest.mark.fuzz

Fuzz = Callable[..., None]

FORMATS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mkv": {},
    "ts": {},
    "avi": {"codec": "mpeg4", "b_frames": False},
    "flv": {"b_frames": False},
    "webm": {"codec": "libvpx-vp9", "b_frames": False},
}
LIMIT = 20.0
"""Seconds within which an input must be over, with the time limits of `DECODE`."""

DECODE = DecodeSettings(open_timeout=2.0, read_timeout=2.0, probe_seconds=1.0, max_pixels=1920 * 1080)
SAMPLING = SamplingSettings(fps=5.0, min_frames=1)


class Decoder:
    """A process that decodes one source after another; a new one where it died by a signal, in FFmpeg."""

    def __init__(self) -> None:
        self._process = DecodingProcess()
        self.frames = 0

    def decode(self, source: str) -> SourceError | None:
        """To the end; the error that it ended with."""
        try:
            self._process.open(Location(source), DECODE, SAMPLING, live=False)
            while True:
                message = self._process.receive(LIMIT)
                assert message is not None, "nothing came, neither a picture nor an error"
                if isinstance(message, Closed):
                    self.frames += message.counts.decoded
                    return message.error
        except DecoderDied as death:
            if death.traceback:
                pytest.fail(death.traceback)
            self.close()
            self._process = DecodingProcess()
            return None

    def close(self) -> None:
        self._process.kill()


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def clip(folder: Path, suffix: str) -> bytes:
    return encode(folder / f"seed.{suffix}", frames=6, fps=25, width=64, height=48, **FORMATS[suffix]).read_bytes()


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    """The places of all boxes of an MP4 file, those within others too."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            return
        yield start
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta"):
            yield from boxes(data, start + 8, start + size)
        start += size


@pytest.mark.parametrize("suffix", FORMATS)
def test_container_headers(suffix: str, fuzz: Fuzz, decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        decoder.decode(str(path))

    seed = clip(tmp_path, suffix)
    check(seed)
    assert decoder.frames == 6
    fuzz(f"container.{suffix}", [seed, seed[:600]], check)


def test_mp4_boxes(fuzz: Fuzz, decoder: Decoder, tmp_path: Path) -> None:
    """Edits of lists of numbers (place of a box, offset in it, value), so that the file stays one of boxes."""
    path, seed = tmp_path / "clip.mp4", clip(tmp_path, "mp4")
    places = list(boxes(seed))
    assert len(places) > 15

    def check(edits: bytes) -> None:
        data = bytearray(seed)
        for box, offset, value in struct.iter_unpack(">BBI", edits[: len(edits) // 6 * 6]):
            at = places[box % len(places)] + offset % 64
            data[at : at + 4] = struct.pack(">I", value)
        path.write_bytes(data)
        decoder.decode(str(path))

    fuzz("boxes", [struct.pack(">BBI", 0, 8, 0), struct.pack(">BBIBBI", 3, 16, 0xFFFFFFFF, 9, 12, 0x7FFFFFFF)], check)


def test_playlists(fuzz: Fuzz, decoder: Decoder, tmp_path: Path) -> None:
    files = {"/seed.ts": clip(tmp_path, "ts"), "/list.m3u8": b""}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server gives it
            pass

    seed = b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.24,\nseed.ts\n#EXT-X-ENDLIST\n"
    outer = b'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9000,CODECS="avc1"\nlist.m3u8\n'
    key = b'#EXT-X-KEY:METHOD=AES-128,URI="file:///etc/passwd"\n'
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def check(data: bytes) -> None:
            files["/list.m3u8"] = data
            decoder.decode(f"http://127.0.0.1:{server.server_port}/list.m3u8")

        check(seed)
        assert decoder.frames == 6
        tokens = (key, b"file:///etc/passwd\n", b"#EXTINF:1e308,\n", b"#EXT-X-TARGETDURATION:-1\n", b"../" * 50)
        fuzz("playlist", [seed, outer], check, (*tokens, b"#EXT-X-MEDIA-SEQUENCE:99999999999999999999\n", b"concat:"))
        server.shutdown()
