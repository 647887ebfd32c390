"""What this program is called where packages are kept: `streamwatch` is another project on PyPI."""

from __future__ import annotations

DISTRIBUTION = "streamwatch-monitor"
__version__ = "0.1.0"


def install_extra(name: str) -> str:
    """How an extra is installed: from the source, so that no index can provide something else by its name."""
    return f"pip install '.[{name}]' in the program's source folder"
