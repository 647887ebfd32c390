"""The names of settings, and which one is meant by a name that is none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

_ALIKE = 0.75
"""Least similarity (difflib's ratio) of a name that may be meant."""


def nearest_key(settings: type[BaseModel], loc: Sequence[int | str]) -> str | None:
    """The key (`faces.threshold`) that is most like one that does not exist, or has its name in another section; None
    where there is none. loc: as in pydantic's errors.
    """
    key = ".".join(part for part in loc if isinstance(part, str))
    known = _keys(settings)
    same_name = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    found = difflib.get_close_matches(key, same_name or known, n=1, cutoff=0.0 if same_name else _ALIKE)
    return found[0] if found else None


def unknown_variable(
    settings: type[BaseModel], prefix: str, environment: Mapping[str, str]
) -> tuple[str, str | None] | None:
    """The first variable that is meant to be a setting and is none, with the one that may be meant; None where there is
    none. Meant are those that begin with the prefix, and those that differ from a setting in their underscores alone.
    """
    known = [f"{prefix}{key.replace('.', '__')}".upper() for key in _keys(settings)]
    simple = {_simple(name): name for name in known}
    for name in environment:
        upper = name.upper()
        if upper.startswith(prefix):
            if not _reaches(settings, upper.removeprefix(prefix).lower().split("__")):
                return name, next(iter(difflib.get_close_matches(upper, known, n=1, cutoff=_ALIKE)), None)
        elif _simple(upper) in simple:
            return name, simple[_simple(upper)]
    return None


def _simple(name: str) -> str:
    return re.sub("_+", "_", name)


def _reaches(settings: type[BaseModel], parts: Sequence[str]) -> bool:
    """Whether a path leads to a field; what lies below one that is no section is for the type of its value to judge."""
    if parts[0] not in settings.model_fields:
        return False
    section = settings.model_fields[parts[0]].annotation
    if len(parts) > 1 and isinstance(section, type) and issubclass(section, BaseModel):
        return _reaches(section, parts[1:])
    return True


def _keys(settings: type[BaseModel]) -> list[str]:
    """Every key, with those of sections and of what lists hold."""
    found: list[str] = []
    for name, info in settings.model_fields.items():
        section = _section_in(info.annotation)
        found += [name, *(f"{name}.{key}" for key in (_keys(section) if section else ()))]
    return found


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a field is, or holds many of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
