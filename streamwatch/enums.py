"""Enumerations whose members are strings."""

from __future__ import annotations

from enum import Enum


class StrEnum(str, Enum):
    """The standard library's, which Python 3.10 lacks: a member is its value, also where it is printed."""

    def __str__(self) -> str:
        return str(self.value)
