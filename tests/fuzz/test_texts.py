"""Whatever text or document it is given, what reads it gives a result or the error that its docstring names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from streamwatch.config import load_settings
from streamwatch.detectors.card import card_path, read_card
from streamwatch.detectors.registry import weights_path
from streamwatch.errors import ConfigError, SourceError, WeightsError
from streamwatch.sources.location import Location
from streamwatch.sources.manifests import read_manifest
from streamwatch.sources.redact import redact
from streamwatch.store.cursors import Cursor
from tests.support.paths import ROOT

pytestmark = pytest.mark.fuzz

Fuzz = Callable[..., None]

MANIFESTS = {
    ".txt": b"# a list\n/archive/one.mp4\nrtsp://user:pass@host/stream\n\n  two.mkv  \n",
    ".csv": b'path,case,seen\n"/archive/a, b.mp4",17,true\nc.mp4,,2.5\n',
    ".tsv": b"case\turl\n1\thttps://host/a.mp4\n",
    ".jsonl": b'{"source": "a.mp4", "case": 17, "ratio": 1.5}\n{"file": "b.mp4", "note": null}\n',
}
TOKENS = (
    b"\x00",
    b"\xff\xfe",
    "\ufeff".encode(),
    b"\x1b[31m",
    b'"',
    b"\r",
    b"[" * 2000,
    b"\xed\xa0\x80",
    b"1e999",
    b"NaN",
)


@pytest.mark.parametrize("suffix", MANIFESTS)
def test_manifests(suffix: str, fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / f"list{suffix}"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(SourceError):
            for entry in read_manifest(Location(path)):
                assert str(entry.place)

    fuzz(f"manifest{suffix}", [MANIFESTS[suffix]], check, TOKENS)


def test_settings(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(ConfigError):
            load_settings(path)

    tokens = (
        *TOKENS,
        b"&a [*a]",
        b"!!python/object:os.system ",
        b"- ",
        b"? ",
        b"<<: ",
        b"~",
        b"\t",
        b".inf",
        b"9" * 5000,
    )
    fuzz("settings", [(ROOT / "config.yaml").read_bytes(), b"sampling: {fps: 2}\n"], check, tokens)


def test_model_cards(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(WeightsError):
            read_card(path)

    seeds = [card_path(weights_path(name)).read_bytes() for name in ("statistics", "m2tr-lite")]
    fuzz("card", seeds, check, (*TOKENS, b".nan", b"-1", b"1e308", b"{}", b"[]", b"9" * 5000))


def test_cursors(fuzz: Fuzz) -> None:
    from datetime import datetime, timezone

    def check(data: bytes) -> None:
        with contextlib.suppress(ValueError):
            cursor = Cursor.parse(data.decode(errors="surrogateescape"))
            assert Cursor.parse(str(cursor)) == cursor

    def coded(data: bytes) -> None:
        import base64

        check(base64.urlsafe_b64encode(data).rstrip(b"="))

    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    fuzz("cursor", [str(Cursor(at, "0123", 4.5)).encode()], check, (b"=", b"-", b"_", b"A" * 100_000))
    fuzz("cursor-document", [json.dumps([at.isoformat(), "0123", 4.5]).encode()], coded, (*TOKENS, b"9" * 5000))


def test_texts_with_credentials(fuzz: Fuzz) -> None:
    def check(data: bytes) -> None:
        text = data.decode(errors="replace")
        once = redact(text)
        assert redact(once) == once

    seeds = [b"rtsp://user:secret@host:554/path?token=secret#part", b"https://host/a?X-Amz-Signature=abc&b=c"]
    fuzz("redact", seeds, check, (b"@", b":", b"//", b"%40", b"?", b"#", b"[::1]", b" ", *TOKENS))


def test_the_seeds_are_what_they_are_meant_to_be(tmp_path: Path) -> None:
    for suffix, data in MANIFESTS.items():
        path = tmp_path / f"list{suffix}"
        path.write_bytes(data)
        assert list(read_manifest(Location(path)))
    assert isinstance(yaml.safe_load((ROOT / "config.yaml").read_bytes()), dict)
