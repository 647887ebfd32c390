"""Times as people read them."""

from __future__ import annotations

from datetime import datetime


def media_time(seconds: float | None) -> str:
    """`1:02:03.4` or `2:03.4`; `…` for None, which is still open."""
    if seconds is None:
        return "…"
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02d}:{tenths / 10:04.1f}" if hours else f"{minutes}:{tenths / 10:04.1f}"
    return f"{hours}:{clock}" if hours else clock


def instant(value: datetime) -> str:
    """`2026-03-01 10:00:03`, in UTC."""
    return value.strftime("%Y-%m-%d %H:%M:%S")
