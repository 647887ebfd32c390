"""C2PA manifests: signed on the spot, changed afterwards, damaged, elsewhere, absent."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from streamwatch.provenance import OFFLINE, Provenance, ProvenanceState, read_provenance
from streamwatch.sources import Location
from tests.support.media import encode, synthetic_video

c2pa = pytest.importorskip("c2pa")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_video(tmp_path_factory.mktemp("plain") / "plain.mp4", seconds=0.4)


@pytest.fixture(scope="module")
def signed(plain: Path) -> Path:
    from tests.support.c2pa_files import sign

    return sign(plain, plain.with_name("signed.mp4"))


def changed(path: Path, target: Path, at: int, to: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[at : at + len(to)] = to
    target.write_bytes(data)
    return target


def test_a_signed_file(signed: Path) -> None:
    assert read_provenance(Location(signed)) == Provenance(
        ProvenanceState.VALID,
        signer="Camera 7",
        issuer="Example News",
        generator="example-editor 1.2",
        actions=("c2pa.created (digitalCapture)", "c2pa.edited"),
    )


def test_what_a_file_was_made_of_is_counted(plain: Path, signed: Path, tmp_path: Path) -> None:
    from tests.support.c2pa_files import with_ingredient

    assert read_provenance(Location(with_ingredient(plain, tmp_path / "made.mp4", signed))).ingredients == 1


def test_a_summary_stays_short(plain: Path, tmp_path: Path) -> None:
    from tests.support.c2pa_files import MANIFEST, sign

    (assertion,) = MANIFEST["assertions"]
    actions = [*assertion["data"]["actions"], *({"action": "c2pa.edited"} for _ in range(100))]
    long = {
        "claim_generator_info": [{"name": "x" * 5000}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
    }
    found = read_provenance(Location(sign(plain, tmp_path / "long.mp4", long)))
    assert found.state is ProvenanceState.VALID
    assert found.generator == "x" * 300 + "…"
    assert len(found.actions) == 21
    assert found.actions[-1] == "and 82 more"


def test_a_file_that_was_changed_after_the_signature(signed: Path, tmp_path: Path) -> None:
    size = signed.stat().st_size
    byte = signed.read_bytes()[size - 500]
    found = read_provenance(Location(changed(signed, tmp_path / "changed.mp4", size - 500, bytes([byte ^ 0xFF]))))
    assert found.state is ProvenanceState.INVALID
    assert found.signer == "Camera 7", "what it claims is told all the same"
    assert len(found.problems) == 1
    assert found.problems[0].startswith("assertion.bmffHash.mismatch: ")


def test_a_manifest_that_was_changed(signed: Path, tmp_path: Path) -> None:
    at = signed.read_bytes().index(b"example-editor")
    found = read_provenance(Location(changed(signed, tmp_path / "changed.mp4", at, b"exemplar")))
    assert found.state is ProvenanceState.INVALID
    assert found.generator == "exemplareditor 1.2"
    assert any(problem.startswith("claimSignature.mismatch") for problem in found.problems)


def test_a_file_without_a_manifest(plain: Path) -> None:
    assert read_provenance(Location(plain)) == Provenance(ProvenanceState.NONE)


def test_a_damaged_manifest(signed: Path, tmp_path: Path) -> None:
    at = signed.read_bytes().index(b"jumb") + 40
    found = read_provenance(Location(changed(signed, tmp_path / "damaged.mp4", at, bytes(800))))
    assert found.state is ProvenanceState.UNREADABLE
    assert found.detail


def test_a_file_that_breaks_off(signed: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(signed.read_bytes()[:3000])
    assert read_provenance(Location(path)).state is ProvenanceState.UNREADABLE


def test_a_container_that_manifests_are_not_read_from(tmp_path: Path) -> None:
    assert read_provenance(Location(encode(tmp_path / "clip.mkv", frames=5))).state is ProvenanceState.UNSUPPORTED


def test_what_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("nothing of a video", encoding="utf-8")
    assert read_provenance(Location(path)).state in (ProvenanceState.UNSUPPORTED, ProvenanceState.UNREADABLE)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    found = read_provenance(Location(tmp_path / "none.mp4"))
    assert found == Provenance(ProvenanceState.UNREADABLE, "the file cannot be read (No such file or directory)")


def test_urls_are_not_looked_at() -> None:
    assert read_provenance(Location("https://example.org/clip.mp4")).state is ProvenanceState.NOT_LOOKED


def test_without_the_extra(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = read_provenance(Location(signed))
    assert found.state is ProvenanceState.NOT_LOOKED
    assert "'.[c2pa]'" in found.detail


@contextmanager
def server() -> Iterator[tuple[int, list[str]]]:
    """A port, and the paths that were asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield listening.server_port, asked
        finally:
            listening.shutdown()
            thread.join()


def test_a_manifest_on_a_server_is_not_fetched_and_its_password_not_shown(plain: Path, tmp_path: Path) -> None:
    from tests.support.c2pa_files import sign

    with server() as (port, asked):
        url = f"http://127.0.0.1:{port}/m.c2pa?token=geheim"
        path = sign(plain, tmp_path / "remote.mp4", remote=url)
        found = read_provenance(Location(path))
        assert asked == []
        with path.open("rb") as file, pytest.raises(c2pa.C2paError), c2pa.Context() as context:
            c2pa.Reader.try_create(None, file, context=context)
        assert asked == ["/m.c2pa?token=geheim"], "the library asks by itself, unless told not to"
    assert found == Provenance(ProvenanceState.ELSEWHERE, f"http://127.0.0.1:{port}/m.c2pa?token=***")


def test_the_empty_list_of_hosts_forbids_every_request(plain: Path, tmp_path: Path) -> None:
    """Whatever else a later version of the library may want to fetch."""
    from tests.support.c2pa_files import sign

    with server() as (port, asked):
        path = sign(plain, tmp_path / "remote.mp4", remote=f"http://127.0.0.1:{port}/m.c2pa")
        eager = {**OFFLINE, "verify": {"remote_manifest_fetch": True, "ocsp_fetch": True}}
        with path.open("rb") as file, pytest.raises(c2pa.C2paError), c2pa.Context.from_dict(eager) as context:
            c2pa.Reader.try_create(None, file, context=context)
        assert asked == []
