"""What becomes of freed memory: settings of the C library's heap (glibc's; with another one nothing happens)."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_NEVER = -1
_LARGEST_MMAP_THRESHOLD = 32 << 20
_KEPT = 1 << 30


def keep_freed_memory() -> None:
    """Give nothing below a gigabyte back to the kernel, from now on and in the whole process.

    For models on a CPU, which want the same megabytes for every batch. Without it they come each time as fresh pages,
    zeroed and mapped one by one: 1,800 page faults for a face of 256 px, a sixth of its CPU time.
    """
    _call("mallopt", _M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    _call("mallopt", _M_TRIM_THRESHOLD, _KEPT)


def keep_all_freed_memory() -> None:
    """Give nothing back to the kernel at all, from now on and in the whole process.

    For training, whose maps of a whole batch are larger than `keep_freed_memory` reaches: 4,000 page faults for a
    picture of 192 px, a ninth of its CPU time.
    """
    _call("mallopt", _M_MMAP_MAX, 0)
    _call("mallopt", _M_TRIM_THRESHOLD, _NEVER)


def give_back_freed_memory() -> None:
    """Give all that is free to the kernel, once: after work that took much more than what comes next."""
    _call("malloc_trim", 0)


def _call(function: str, *arguments: int) -> None:
    if sys.platform.startswith("linux"):
        with contextlib.suppress(AttributeError, OSError):  # musl has neither of them
            getattr(ctypes.CDLL(None), function)(*arguments)
