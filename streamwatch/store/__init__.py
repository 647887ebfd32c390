"""The store: runs, verdicts, tracks, scores, alerts and their evidence, states of streams, in an SQL database.

SQLAlchemy is loaded on first use, so that `import streamwatch.store` alone stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamwatch.store.filters import Filters
    from streamwatch.store.history import StreamStatus
    from streamwatch.store.loading import AlertRow, VerdictRow
    from streamwatch.store.repository import Store
    from streamwatch.store.states import ReviewState, RunStatus

__all__ = [
    "AlertRow",
    "Filters",
    "ReviewState",
    "RunStatus",
    "Store",
    "StreamStatus",
    "VerdictRow",
]

_HOMES = {
    "AlertRow": "loading",
    "Filters": "filters",
    "ReviewState": "states",
    "RunStatus": "states",
    "Store": "repository",
    "VerdictRow": "loading",
    "StreamStatus": "history",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
