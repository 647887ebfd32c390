"""Settings of the whole process that a CPU trains faster by. Call before torch has computed anything in it."""

from __future__ import annotations

import os

from streamwatch.allocator import keep_all_freed_memory


def prepare_process() -> None:
    """Let waiting threads sleep, keep freed memory, and take denormal numbers for zero.

    Threads of torch that wait busily take the cores from the processes that prepare pairs; the policy counts only
    before torch is imported. Attention with trained weights is full of denormal numbers in its backward pass, and each
    costs a hundred times a normal one: 122 against 74 ms of CPU for a picture of 192 px. Threads inherit the setting
    from the one that starts them.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_all_freed_memory()
    import torch

    torch.set_flush_denormal(True)
