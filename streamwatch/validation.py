"""What pydantic found wrong, in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import ValidationError


def dotted(loc: Sequence[int | str]) -> str:
    """`faces.threshold` of ("faces", "threshold")."""
    return ".".join(map(str, loc))


def problems(error: ValidationError, key: Callable[[Sequence[int | str]], str] = dotted) -> str:
    """`KEY: what is wrong; KEY: …`. key: names a place in the document."""
    return "; ".join(f"{key(item['loc'])}: {item['msg']}" for item in error.errors())
