"""A location holds credentials where it opens its source, and nowhere shows them."""

import copy
import dataclasses
import json
import pickle
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from streamwatch.archive.input_queue import QueuedInput
from streamwatch.errors import SourceRefused
from streamwatch.sources import Input, Location

SECRET = "rtsp://admin:pa55@cam:554/ch1?token=hush"
SHOWN = "rtsp://***@cam:554/ch1?token=***"


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("rtsp://h/x", "rtsp"),
        ("HTTPS://h", "https"),
        ("udp://@239.0.0.1:1234", "udp"),
        ("weird+scheme://x", "weird+scheme"),
        ("file:///x/a.mp4", "file"),
        ("rtsp://[::1]:8554/ch1", "rtsp"),
        ("https://h/a%20b%2F.mp4", "https"),
        ("s3://bucket/a\nb.mp4", "s3"),
    ],
)
def test_urls(text: str, scheme: str) -> None:
    source = Location(text)
    assert (source.text, source.scheme, source.is_url) == (text, scheme, True)
    assert source.absolute() is source


@pytest.mark.parametrize(
    "text",
    [
        *("a.mp4", "a:b.mp4", "/x/y", "C:\\x.mp4", "C://x.mp4", "concat:a|b", "", "://x"),
        *("50%20off.mp4", "\udcff\udcfe.mp4", "/data/u:p@x/clip.mp4", "x/rtsp://u:p@h"),
    ],
)
def test_paths(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Location(text)
    assert (source.text, source.name, source.scheme, source.is_url) == (text, text, "", False)
    assert (source.path, source.has_content, source.is_object) == (Path(text), True, False)
    assert source.absolute() == Location(tmp_path / text)
    assert source.absolute().text.startswith("/")
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301


def test_a_path_object_is_never_a_url() -> None:
    assert Location("rtsp://h/x").is_url
    assert not Location(Path("rtsp://h/x")).is_url


def test_what_is_neither_text_nor_a_path_is_refused() -> None:
    for wrong in (None, 17, b"a.mp4"):
        with pytest.raises(TypeError):
            Location.of(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "is_object", "has_content"),
    [
        ("s3://bucket/a.mp4", True, True),
        ("ABFS://box/a.mp4", True, True),
        ("https://h/a.mp4", False, False),
        ("file:///x/a.mp4", False, False),
        ("s3/a.mp4", False, True),
    ],
)
def test_what_has_a_content_of_its_own(text: str, is_object: bool, has_content: bool) -> None:
    source = Location(text)
    assert (source.is_object, source.has_content) == (is_object, has_content)


def test_text_makes_it_equal_and_it_stays_as_it_is() -> None:
    source = Location(SECRET)
    other = Location(SECRET.replace("pa55", "other"))
    assert other.name == source.name
    assert {source, Location(SECRET), other} == {other, source}
    assert source != SECRET
    assert Location.of(source) is source
    assert Location.of(SECRET) == copy.deepcopy(source) == pickle.loads(pickle.dumps(source)) == source  # noqa: S301
    with pytest.raises(AttributeError):
        source.text = "x"  # type: ignore[misc]


def test_no_text_made_of_it_has_its_credentials() -> None:
    source = Location(SECRET)
    texts = [str(source), f"{source}", f"{source!r}", "%s" % source, f"{[source]}", f"{ {source: 1} }"]  # noqa: UP031
    texts += [repr(Input(source)), repr(QueuedInput(source, 1)), json.dumps([source], default=str)]
    texts += [repr(dataclasses.asdict(Input(source))), repr(SourceRefused(f"{source}: no", "fix it"))]
    try:
        raise KeyError(source)
    except KeyError as error:
        texts += [str(error), repr(error), traceback.format_exc()]
    for text in texts:
        assert SHOWN in text
        assert "pa55" not in text
        assert "hush" not in text


def test_pydantic_does_not_take_it_apart() -> None:
    class Watched(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        source: Location
        number: int

    watched = Watched(source=Location(SECRET), number=1)
    assert SHOWN in repr(watched)
    assert "pa55" not in f"{watched} {watched!r} {watched.model_dump()}"
    with pytest.raises(ValidationError) as caught:
        Watched(source=Location(SECRET), number="x")
    assert "pa55" not in str(caught.value)
    with pytest.raises(PydanticSchemaGenerationError):

        class Plain(BaseModel):
            source: Location
