"""A TCP proxy on loopback that can be made to fail: between a client and a real server.

with fault_proxy(port_of_the_server) as proxy:
    proxy.black_hole()
    ...
    proxy.restore()
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator

from streamwatch.bench.loopback.rtsp_server import free_port

CHUNK = 4096


class FaultProxy:
    """port: where it listens, the same for its whole life. Faults hold until `restore`."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._delay = 0.0
        self._rate: float | None = None
        self._corrupt = 0.0
        self._chance = random.Random(7)
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def refuse(self) -> None:
        """Connections are refused, and those that there are end."""
        self._do(self._close)

    def black_hole(self) -> None:
        """Connections stay and new ones are taken, but no byte passes any more."""
        self._do(self._flowing.clear)

    def cut(self) -> None:
        """All connections end at once; new ones work."""
        self._do(self._drop)

    def delay(self, seconds: float) -> None:
        """Every byte from the server arrives so much later."""
        self._do(lambda: setattr(self, "_delay", seconds))

    def throttle(self, rate: float) -> None:
        """From the server come no more than `rate` bytes per second."""
        self._do(lambda: setattr(self, "_rate", rate))

    def corrupt(self, share: float) -> None:
        """In that share of the chunks from the server, one byte is another one."""
        self._do(lambda: setattr(self, "_corrupt", share))

    def restore(self) -> None:
        """All is well again."""

        async def repair() -> None:
            self._delay, self._rate, self._corrupt = 0.0, None, 0.0
            self._flowing.set()
            if self._server is None:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

        asyncio.run_coroutine_threadsafe(repair(), self._loop).result(10)

    def start(self) -> None:
        self._thread.start()
        self.restore()

    def stop(self) -> None:
        self._do(self._close)

        async def settle() -> None:
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(settle(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, act: Callable[[], object]) -> None:
        done = threading.Event()

        def work() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(work)
        if not done.wait(10):
            raise RuntimeError("the proxy does not answer")

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._drop()

    def _drop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            both = [self._pump(reader, far_writer, down=False), self._pump(far_reader, writer, down=True)]
            pumps = [asyncio.create_task(pump) for pump in both]
            self._tasks.update(pumps)
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._tasks.difference_update(pumps)
            far_writer.transport.abort()
        writer.transport.abort()
        self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                if not down:
                    writer.write(data)
                    continue
                if self._rate is not None:
                    await asyncio.sleep(len(data) / self._rate)
                if self._chance.random() < self._corrupt:
                    data = self._damaged(data)
                self._loop.call_later(self._delay, _write, writer, data)
                await writer.drain()

    def _damaged(self, data: bytes) -> bytes:
        place = self._chance.randrange(len(data))
        return data[:place] + bytes([data[place] ^ self._chance.randrange(1, 256)]) + data[place + 1 :]


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


@contextlib.contextmanager
def fault_proxy(target: int) -> Iterator[FaultProxy]:
    """A proxy to a port on loopback, for the time of the context."""
    proxy = FaultProxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
