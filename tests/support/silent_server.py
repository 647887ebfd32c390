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
