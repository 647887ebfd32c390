"""An RTSP server on loopback that serves one H.264 file, at its own pace, over interleaved TCP.

    with serve_rtsp(path) as url:
        ...

The server is `aio-rtsp-toolkit`'s, in a thread of its own. It stamps packets in decoding order: serve clips
without B-pictures where timestamps matter.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aio_rtsp_toolkit.server as toolkit
import aio_sockets
from aio_rtsp_toolkit.server_session import RtspServerSession

MOST_STREAMS = 256
"""Clients at a time."""

_SILENT = logging.getLogger("streamwatch.tests.rtsp")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class _Session(RtspServerSession):  # type: ignore[misc]
    authorization: str | None = None
    lost: Callable[[int], bool]
    sent = 0

    async def _handle_describe(self, uri: str, headers: dict[str, str]) -> None:
        if self.authorization is not None and headers.get("authorization") != self.authorization:
            await self._send_response(headers, 401, "Unauthorized", {"WWW-Authenticate": 'Basic realm="streamwatch"'})
            return
        await super()._handle_describe(uri, headers)

    async def _send_interleaved_frame(self, channel: int, payload: bytes) -> None:
        if channel % 2 == 0:  # RTP, and not RTCP
            self.sent += 1
            if self.lost(self.sent - 1):
                return
        await super()._send_interleaved_frame(channel, payload)

    def _threadsafe_queue_put(
        self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Any], item: Any, stop_event: threading.Event
    ) -> bool:
        """As the toolkit's, which on a busy machine puts packets twice: it aborts calls that are about to succeed."""
        future = asyncio.run_coroutine_threadsafe(queue.put(item), loop)
        while not stop_event.is_set():
            try:
                future.result(timeout=0.05)
            except concurrent.futures.TimeoutError:
                continue
            except (concurrent.futures.CancelledError, RuntimeError):
                return False
            return True
        future.cancel()
        return False


class _Server(toolkit.RtspServer):  # type: ignore[misc]
    def __init__(
        self, directory: Path, port: int, credentials: tuple[str, str] | None, lost: Callable[[int], bool]
    ) -> None:
        super().__init__(str(directory), host="127.0.0.1", port=port)
        self.logger = _SILENT
        self._lost = lost
        self._authorization: str | None = None
        if credentials is not None:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            self._authorization = f"Basic {token}"

    async def _handle_client(self, sock: aio_sockets.TCPSocket) -> None:
        session = _Session(self, sock)
        session.authorization = self._authorization
        session.lost = self._lost
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await session.run()


@contextlib.contextmanager
def serve_rtsp(
    path: Path,
    *,
    user: str | None = None,
    password: str = "",
    plays: int = 1,
    port: int | None = None,
    lost: Callable[[int], bool] = lambda number: False,
) -> Iterator[str]:
    """Serve `path` (.mp4 or .mkv with H.264) and give its URL, with the credentials in it if there are any.

    plays: how often the file is played before the server hangs up; 0: forever.
    port: to come back at an address that was used before; else a free one. lost: whether an RTP packet, of which
    each client's first has the number 0, does not arrive.
    """
    port = port or free_port()
    ready = threading.Event()
    stop: asyncio.Event
    loop: asyncio.AbstractEventLoop

    async def run() -> None:
        nonlocal stop, loop
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(MOST_STREAMS))  # one thread each
        server = _Server(path.parent, port, (user, password) if user is not None else None, lost)
        await server.start()
        ready.set()
        await stop.wait()
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for task in sessions:
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        await server.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="rtsp-server", daemon=True)
    toolkit_logger, aio_sockets.aio_sockets.logger = aio_sockets.aio_sockets.logger, _SILENT
    thread.start()
    try:
        if not ready.wait(10):
            raise RuntimeError("the RTSP server did not start")
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user is not None else ""
        yield f"rtsp://{login}127.0.0.1:{port}/{quote(path.name)}?play_count={plays}"
    finally:
        if ready.is_set():
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)
        aio_sockets.aio_sockets.logger = toolkit_logger


def free_port() -> int:
    """A TCP port on loopback that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
