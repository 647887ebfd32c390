"""GStreamer's RTSP server, where the system has it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from streamwatch.bench.loopback.rtsp_server import free_port

PYTHON = Path("/usr/bin/python3")
PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
MISSING = "GStreamer's RTSP server is not installed"


@lru_cache(maxsize=1)
def installed() -> bool:
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", PROBE], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def serve_gstreamer(clip: Path, *login: str) -> Iterator[str]:
    """The URL of a clip (MPEG-TS) that plays from its beginning for every client."""
    port = free_port()
    command = [str(item) for item in (PYTHON, Path(__file__).with_name("gstreamer_server.py"), clip, port, *login)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        try:
            yield f"rtsp://127.0.0.1:{port}/live"
        finally:
            server.kill()
