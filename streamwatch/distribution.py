"""What this program is called where packages are kept: `streamwatch` is another project on PyPI."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "streamwatch-monitor"


def version() -> str:
    """The version that is installed; `0+unknown` in a source folder that was never installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def install_extra(name: str) -> str:
    """How an extra is installed: from the source, so that no index can provide something else by its name."""
    return f"pip install '.[{name}]' in the source folder of streamwatch"
