"""Certificates of sources are verified, unless the settings name the host."""

from __future__ import annotations

import contextlib
import functools
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamwatch.config import DecodeSettings
from streamwatch.errors import SourceUntrusted
from streamwatch.sources import VideoSource
from tests.support import media

FAST = DecodeSettings(open_timeout=5, read_timeout=5, probe_seconds=0.2)


def certificate(folder: Path, name: str, address: str) -> Path:
    """A self-signed certificate for an IP address, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / f"{name}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextlib.contextmanager
def serve_https(folder: Path, pem: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def tls_listener(pem: Path, requests: list[bytes]) -> Iterator[int]:
    """Accepts one connection, and keeps what comes after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer, _ = listener.accept()
            with context.wrap_socket(peer, server_side=True) as connection:
                requests.append(connection.recv(100))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    media.encode(folder / "a.ts", frames=25)
    return folder


def test_a_certificate_that_nobody_vouches_for_is_refused(folder: Path) -> None:
    pem = certificate(folder, "camera", "127.0.0.1")
    with serve_https(folder, pem) as url:
        with pytest.raises(SourceUntrusted, match=r"tls_ca_file.*tls_unverified_hosts"):
            VideoSource(f"{url}/a.ts", FAST)
        for settings in ({"tls_ca_file": pem}, {"tls_unverified_hosts": ("127.0.0.1",)}):
            with VideoSource(f"{url}/a.ts", FAST.model_copy(update=settings)) as source:
                assert len(list(source.decoded())) == 25
        other = FAST.model_copy(update={"tls_unverified_hosts": ("camera.lan",)})
        with pytest.raises(SourceUntrusted):
            VideoSource(f"{url}/a.ts", other)


def test_a_certificate_of_another_host_is_refused(folder: Path) -> None:
    pem = certificate(folder, "elsewhere", "127.0.0.2")
    with serve_https(folder, pem) as url, pytest.raises(SourceUntrusted):
        VideoSource(f"{url}/a.ts", FAST.model_copy(update={"tls_ca_file": pem}))


@pytest.mark.parametrize("scheme", ["rtsps", "rtmps"])
def test_no_request_goes_to_a_server_that_is_not_trusted(scheme: str, folder: Path) -> None:
    requests: list[bytes] = []
    with tls_listener(certificate(folder, scheme, "127.0.0.1"), requests) as port, pytest.raises(SourceUntrusted):
        VideoSource(f"{scheme}://user:pass@127.0.0.1:{port}/app/x", FAST)
    assert requests in ([], [b""])
