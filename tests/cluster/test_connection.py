"""How a cluster is joined."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from streamwatch.config import EngineSettings
from streamwatch.errors import ConfigError


def test_a_cluster_that_cannot_start_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from streamwatch.cluster import connection as cluster
    from streamwatch.errors import ClusterError

    def fail(**_: object) -> None:
        raise Exception("The current node timed out\nduring startup")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ClusterError, match=r"timed out during startup.*doctor"), cluster.connect(EngineSettings()):
        raise AssertionError("unreachable")


@contextlib.contextmanager
def answering(*answers: bytes) -> Iterator[str]:
    """A server that sends the answers to its one client, then keeps silent; its address."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                with client:
                    for answer in answers:
                        client.sendall(answer)
                    over.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"localhost:{server.getsockname()[1]}"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def refused(address: str) -> str:
    """The message of the refusal to join, which takes no longer than a cluster is waited for."""
    from streamwatch.cluster import answering
    from streamwatch.cluster import connection as cluster

    start = time.monotonic()
    with pytest.raises(ConfigError) as error, cluster.connect(EngineSettings(address=address)):
        raise AssertionError("unreachable")
    assert time.monotonic() - start < answering.JOIN_PATIENCE + 2
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def _as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray looks for a service of this machine at its address in the network, where these servers do not listen."""
    monkeypatch.setattr("ray._private.services.get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr("streamwatch.cluster.answering.JOIN_PATIENCE", 1.0)


@pytest.mark.usefixtures("_as_written")
@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((), "timed out"),
        ((b"\0",), "timed out"),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), "no Ray cluster"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "no Ray cluster"),
    ],
    ids=["silent", "stops", "ssh", "http"],
)
def test_what_is_no_cluster_is_refused_at_once(
    answers: tuple[bytes, ...], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(*answers) as address:
        message = refused(address)
    assert f"no Ray cluster at {address}" in message
    assert reason in message
    assert capfd.readouterr().err == "", "none of Ray's log"


@pytest.mark.usefixtures("_as_written")
@pytest.mark.parametrize(
    "address", ["localhost:1", "nowhere.invalid:6379", "host", "host:port", "host:", ":6379", "[::1]:1"]
)
def test_an_address_without_a_cluster_is_refused_at_once(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert f"engine.address: no Ray cluster at {address} (" in refused(address)
    assert capfd.readouterr().err == ""


def test_a_machine_whose_processes_cannot_reach_each_other_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamwatch.cluster import connection as cluster
    from streamwatch.errors import ClusterError

    def unreachable(*_: object, **__: object) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("streamwatch.local_runtime.socket.create_connection", unreachable)
    expected = r"127\.0\.0\.1 .*Network is unreachable.*ip link set lo up"
    with pytest.raises(ClusterError, match=expected), cluster.connect(EngineSettings()):
        raise AssertionError("unreachable")
