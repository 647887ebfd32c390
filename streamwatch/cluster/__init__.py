"""Ray's plumbing for scans (`archive`) and watches (`live`): the cluster, its actors, and the batches between them.

Ray is imported by those modules that know it, not here. What it reads from the environment while it is imported is set
here, because every one of them is imported after this package.
"""

import contextlib
import os
import sys
from pathlib import Path

# No usage report leaves the machine; no warning about a behaviour that concerns GPUs only; processes of equal rank with
# others, for a stream that starves loses frames.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_worker_niceness", "0")

# For processes of a cluster that is started here: without it glibc gives each of their many threads a heap of its own,
# and what is freed in one is of no use to the others, so that memory grows with the length of a file.
os.environ.setdefault("MALLOC_ARENA_MAX", "2")

# Ray 2.60 makes a token for a cluster on this machine, and gives it to clusters that `ray start` starts later, but does
# not use it itself to join them unless this is set. Setting it after Ray was imported makes Ray contradict itself.
with contextlib.suppress(RuntimeError, OSError):  # no home, or one that this user may not read
    if "ray" not in sys.modules and Path("~/.ray/auth_token").expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
