"""The streams that a running watch follows."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamwatch.cli import streams
from streamwatch.config import LiveSettings, Settings, StoreSettings, StreamSettings, load_settings
from streamwatch.errors import ConfigError, SourceRefused
from streamwatch.live.roster import Roster, RosterFollower, roster_path
from streamwatch.live.stream_selection import StreamSelection

STUDIO = StreamSettings(url="rtsp://user:hush@cam/studio", name="studio 1")
ROOF = "rtsp://user:hush@cam/roof"


@pytest.fixture
def roster(tmp_path: Path) -> Roster:
    return Roster(tmp_path / "desk.db.streams.yaml", [STUDIO])


def test_what_is_added_is_watched_besides_what_the_settings_say(roster: Roster, tmp_path: Path) -> None:
    assert roster.streams() == [STUDIO]
    roster.add(ROOF, "roof")
    roster.add("rtsp://cam/door", None)
    assert [(stream.url, stream.name) for stream in roster.streams()] == [
        (STUDIO.url, "studio 1"),
        (ROOF, "roof"),
        ("rtsp://cam/door", None),
    ]
    file = tmp_path / "desk.db.streams.yaml"
    assert file.stat().st_mode & 0o777 == 0o600
    roster.remove("roof")
    roster.remove("rtsp://cam/door")
    assert roster.streams() == [STUDIO]


def test_a_paused_stream_stays_on_the_list(roster: Roster) -> None:
    roster.pause("studio 1", paused=True)
    roster.add(ROOF, None)
    roster.pause("rtsp://***@cam/roof", paused=True)
    assert [stream.paused for stream in roster.streams()] == [True, True]
    roster.pause("studio 1", paused=False)
    assert [(stream.name, stream.paused) for stream in roster.streams()] == [("studio 1", False), (None, True)]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda roster: roster.add(STUDIO.url, None), "studio 1: is watched already"),
        (lambda roster: roster.add("rtsp://cam/other", "studio 1"), "studio 1: is watched already"),
        (lambda roster: roster.remove("studio 1"), "stands in the settings"),
        (lambda roster: roster.remove("rtsp://user:hush@cam/none"), r"rtsp://\*\*\*@cam/none: no such stream"),
        (lambda roster: roster.pause("none", paused=True), "none: no such stream"),
    ],
)
def test_what_cannot_be_done_says_why(roster: Roster, act: Callable[[Roster], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        act(roster)


def test_a_scheme_that_is_not_allowed_is_not_added(roster: Roster) -> None:
    with pytest.raises(SourceRefused, match="ftp"):
        roster.add("ftp://cam/roof", None)


@pytest.mark.parametrize("text", ["streams: [", "streams: [{name: x}]", "other: 1"])
def test_a_damaged_file_is_named(roster: Roster, tmp_path: Path, text: str) -> None:
    (tmp_path / "desk.db.streams.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"desk\.db\.streams\.yaml: "):
        roster.streams()
    with pytest.raises(ConfigError):
        roster.add(ROOF, None)
    assert (tmp_path / "desk.db.streams.yaml").read_text() == text


def test_two_who_add_at_once_lose_nothing(tmp_path: Path) -> None:
    def add(first: int) -> None:
        for number in range(first, first + 10):
            Roster(tmp_path / "roster.yaml", []).add(f"rtsp://cam/{number}", None)

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Roster(tmp_path / "roster.yaml", []).streams()) == 30


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "roster.lock").symlink_to(victim)
    with pytest.raises(ConfigError, match=r"roster\.yaml: cannot be written"):
        Roster(tmp_path / "roster.yaml", []).add("rtsp://cam/1", None)
    assert victim.read_text() == "untouched"


def test_where_the_roster_lies(tmp_path: Path) -> None:
    beside = Settings(store=StoreSettings(url=f"sqlite:///{tmp_path}/desk.db"))
    assert roster_path(beside) == tmp_path / "desk.db.streams.yaml"
    server = Settings(store=StoreSettings(url="postgresql://user:hush@host/desk"))
    assert roster_path(server) is None
    named = server.model_copy(update={"live": LiveSettings(roster=tmp_path / "mine.yaml")})
    assert roster_path(named) == tmp_path / "mine.yaml"


def test_without_a_file_the_settings_streams_are_watched_and_none_can_be_added() -> None:
    roster = Roster(None, [STUDIO])
    assert roster.streams() == [STUDIO]
    needed = r"live\.roster: with a store on a server it must name the file"
    with pytest.raises(ConfigError, match=needed):
        roster.add(ROOF, None)
    with pytest.raises(ConfigError, match=needed):
        roster.pause("studio 1", paused=True)


def test_a_watch_with_a_store_on_a_server_follows_its_settings(tmp_path: Path) -> None:
    config = tmp_path / "desk.yaml"
    config.write_text("store: {url: 'postgresql://user:hush@host/desk'}\nstreams: [{url: 'rtsp://cam/1'}]\n")
    wanted = StreamSelection([], lambda: load_settings(config), config)
    wanted.check()
    assert wanted.urls == ["rtsp://cam/1"]
    assert wanted.follow is not None
    assert wanted.follow() is None
    config.write_text(config.read_text().replace("cam/1", "cam/2"))
    os.utime(config, (1e9, 1e9))
    assert wanted.follow() == ["rtsp://cam/2"]


def test_a_follower_reads_what_has_changed_and_tells_a_mistake_once(tmp_path: Path) -> None:
    file = tmp_path / "roster.yaml"
    roster = Roster(file, [STUDIO])
    follower = RosterFollower(roster.streams, [file])
    assert follower.poll() == [STUDIO]
    assert follower.poll() is None
    roster.add(ROOF, None)
    found = follower.poll()
    assert found is not None
    assert len(found) == 2
    file.write_text("streams: [")
    with pytest.raises(ConfigError):
        follower.poll()
    assert follower.poll() is None
    file.unlink()
    assert follower.poll() == [STUDIO]


def test_the_commands_show_no_password(tmp_path: Path) -> None:
    store = ["--store", f"sqlite:///{tmp_path}/desk.db"]
    runner = CliRunner()
    said = [
        runner.invoke(streams.app, [*command, *store])
        for command in (["add", ROOF], ["pause", ROOF], ["resume", ROOF], ["remove", ROOF])
    ]
    assert [result.exit_code for result in said] == [0, 0, 0, 0], said
    output = "".join(result.output for result in said)
    assert output.splitlines() == [f"rtsp://***@cam/roof: {what}" for what in ("added", "paused", "resumed", "removed")]
