"""How a lack of memory is distinguished from other failures of a model."""

from __future__ import annotations

_MARKS = ("out of memory", "can't allocate memory", "could not create a primitive")
"""What CUDA, torch's allocator for the CPU, and oneDNN say."""


def ran_out_of_memory(error: Exception) -> bool:
    """Whether a model failed because its batch was too large for the memory that is left."""
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in _MARKS)
