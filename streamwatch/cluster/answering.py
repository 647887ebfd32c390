"""Whether a cluster answers at an address, asked before Ray is: Ray would try for minutes."""

from __future__ import annotations

import socket
import time

from ray._private import services

JOIN_PATIENCE = 10.0
"""Seconds within which a cluster must answer at its address."""

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What a client of gRPC sends first: the connection preface of RFC 9113 with an empty SETTINGS frame."""

HTTP2_SETTINGS = 4
"""Type of the frame that a server of gRPC sends first; the type is the fourth byte of a frame."""


def check_answers(address: str) -> None:
    """Raise OSError where nothing speaks gRPC at the address within JOIN_PATIENCE, ValueError for what is none."""
    host, port = _head(address)
    deadline = time.monotonic() + JOIN_PATIENCE
    with socket.create_connection((host, port), timeout=JOIN_PATIENCE) as connection:
        connection.sendall(HTTP2_PREFACE)
        answer = b""
        while len(answer) < 4:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            received = connection.recv(4 - len(answer))
            if not received:
                raise ConnectionError("the connection was closed")
            answer += received
    if answer[3] != HTTP2_SETTINGS:
        raise ConnectionError("what answers there is no Ray cluster")


def _head(address: str) -> tuple[str, int]:
    """Host and port of the head of a cluster, where `auto` is the one that runs on this machine. Raises ConnectionError
    where none does, ValueError for what is no address.
    """
    found = services.canonicalize_bootstrap_address(address)
    if found is None:
        raise ConnectionError("none was started on this machine")
    host, separator, port = found.rpartition(":")
    if not separator or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("HOST:PORT is wanted")
    return host.strip("[]"), int(port)
