"""Text of unknown origin, such as the name of a file, for terminals and files that go by lines."""

from __future__ import annotations


def plain(text: str) -> str:
    """Text without characters that move the cursor, change a terminal, begin a line or turn the direction of reading:
    escaped, as in Python's source.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
