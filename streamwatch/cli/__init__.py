"""The command line: thin commands, one file per noun."""

import os

# Standard output is for results. Ray prints there what happened to an actor, whatever its log settings, unless this,
# read when it is imported, says otherwise; the program itself logs what matters of it.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
