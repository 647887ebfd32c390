"""The command line: thin commands, one file per noun."""

import os

# Standard output is for results. Ray prints there what befell an actor, whatever its log settings, unless this,
# read when it is imported, says otherwise; what matters of it the engine tells itself.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
