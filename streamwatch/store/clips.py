"""Evidence clips: files beside the database, with their hash in it, or why there is none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import URL, Connection, delete, insert, select

from streamwatch.files import make_private_folder, replacing
from streamwatch.records import EvidenceClip
from streamwatch.store.database import sqlite_file
from streamwatch.store.rows import Values, clean_text
from streamwatch.store.tables import alerts, clips

NO_FOLDER = "no folder for clips is set: a store on a server needs alerts.clips"


@dataclass(frozen=True, slots=True)
class ClipRow:
    """The clip of an alert. path is None, and failure says why, where there is none. started_at, ended_at: UTC."""

    alert_id: str
    path: str | None
    sha256: str | None
    bytes: int | None
    started_at: datetime | None
    ended_at: datetime | None
    failure: str | None


def clip_folder(url: URL, given: Path | None) -> Path | None:
    """Where clips go: the folder given, or `FILE.clips` beside an SQLite store; None for a server without one."""
    if given is not None:
        return given.absolute()
    file = sqlite_file(url)
    return None if file is None else file.absolute().with_name(f"{file.name}.clips")


def save_clip(connection: Connection, url: URL, given: Path | None, clip: EvidenceClip, now: datetime) -> str | None:
    """Write a clip's file, if it has one, and its row; returns why there is none, where it is the disk's fault.

    given: see `clip_folder`. A file is written under another name and renamed, so that no half of one is ever taken for
    a clip. A clip of an alert that is not stored is left out.
    """
    if connection.execute(select(alerts.c.id).where(alerts.c.id == clip.alert_id)).first() is None:
        return None
    stored = connection.execute(select(clips).where(clips.c.alert_id == clip.alert_id)).mappings().first()
    if stored is not None and (stored["path"] is not None or clip.data is None):
        return None
    row: Values = {"alert_id": clip.alert_id, "started_at": clip.start, "ended_at": clip.end, "stored_at": now}
    trouble = None
    folder = clip_folder(url, given)
    if clip.data is None:
        row["failure"] = clean_text(clip.failure)
    elif folder is None:
        row["failure"] = NO_FOLDER
    else:
        try:
            path = _write(folder, clip.alert_id, clip.data)
        except OSError as error:
            trouble = f"{folder}: the clip of alert {clip.alert_id[:8]} cannot be written ({error.strerror})"
            row["failure"] = trouble
        else:
            row |= {
                "path": str(path) if given is not None else f"{folder.name}/{path.name}",
                "sha256": hashlib.sha256(clip.data).hexdigest(),
                "bytes": len(clip.data),
            }
    connection.execute(delete(clips).where(clips.c.alert_id == clip.alert_id))
    connection.execute(insert(clips), row)
    return trouble


def load_clip(connection: Connection, url: URL, alert_id: str) -> ClipRow | None:
    """The clip of an alert; None where none was asked for, or it is still to come."""
    row = connection.execute(select(clips).where(clips.c.alert_id == alert_id)).mappings().first()
    if row is None:
        return None
    path = None if row["path"] is None else str(place_of(url, row["path"]))
    return ClipRow(alert_id, path, row["sha256"], row["bytes"], row["started_at"], row["ended_at"], row["failure"])


def place_of(url: URL, path: str) -> Path:
    """The location of the file of a stored path: beside an SQLite store, unless the path is absolute."""
    file = sqlite_file(url)
    return Path(path) if file is None else file.absolute().parent / path


def _write(folder: Path, alert_id: str, data: bytes) -> Path:
    make_private_folder(folder)
    path = folder / f"{alert_id}.mp4"
    with replacing(path) as draft:
        draft.write_bytes(data)
    return path
