"""A server that says little."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def silent_server(greeting: bytes = b"") -> Iterator[int]:
    """Accepts one connection, sends `greeting`, then says nothing more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        peers: list[socket.socket] = []

        def accept() -> None:
            peer, _ = listener.accept()
            peers.append(peer)
            peer.sendall(greeting)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(5)
            for peer in peers:
                peer.close()


@contextlib.contextmanager
def dripping_server(greeting: bytes, drop: bytes, every: float = 0.1) -> Iterator[int]:
    """Accepts connections, reads what comes first, sends `greeting`, then `drop` again and again."""
    over = threading.Event()

    def serve(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.recv(65536)
            peer.sendall(greeting)
            while not over.wait(every):
                peer.sendall(drop)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
