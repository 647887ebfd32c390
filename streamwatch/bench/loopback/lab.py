"""Streams on loopback in a process of their own, each behind a proxy that can be made to fail."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing

ORDERS: dict[str, tuple[float, ...]] = {
    "refuse": (),
    "black_hole": (),
    "cut": (),
    "throttle": (100.0,),
    "delay": (0.3,),
    "corrupt": (0.2,),
    "restore": (),
}
"""Orders to a proxy, by the names of its methods, with their arguments."""


class Lab:
    """urls: of the streams. A stream's proxy is made to fail by the stream's number."""

    def __init__(self, process: subprocess.Popen[str], urls: Sequence[str]) -> None:
        self.urls = list(urls)
        self.pid = process.pid
        self._process = process

    def send(self, stream: int, order: str) -> None:
        """Send an order, one of `ORDERS`, to a stream's proxy; it is carried out when this returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([stream, order]) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError(f"the streams' own process did not do {order!r}")


@contextlib.contextmanager
def open_lab(clip: Path, count: int) -> Iterator[Lab]:
    """Serve a clip (H.264 in MP4 without B-pictures) as `count` streams, over and over, for the time of the context.

    Raises LibraryMissing where the extra `bench` is not installed.
    """
    try:
        import aio_rtsp_toolkit.server  # noqa: F401 - to see whether it is there
    except ImportError:
        raise LibraryMissing("an RTSP server to measure with is missing", install_extra("bench")) from None
    command = [sys.executable, "-c", f"from {__name__} import main; main()", str(clip), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Lab(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Serve, say the URLs, and obey the orders on standard input until it ends."""
    from streamwatch.bench.loopback.fault_proxy import fault_proxy
    from streamwatch.bench.loopback.rtsp_server import serve_rtsp

    clip, count = Path(sys.argv[1]), int(sys.argv[2])
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serve_rtsp(clip, plays=0))
        port = urlsplit(url).port
        assert port is not None
        proxies = [stack.enter_context(fault_proxy(port)) for _ in range(count)]
        _say(json.dumps([url.replace(f":{port}/", f":{proxy.port}/") for proxy in proxies]))
        for line in sys.stdin:
            stream, order = json.loads(line)
            getattr(proxies[stream], order)(*ORDERS[order])
            _say("done")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
