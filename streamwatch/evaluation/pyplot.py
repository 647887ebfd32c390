"""matplotlib for files, where it is installed."""

from __future__ import annotations

from typing import Any

from streamwatch.errors import LibraryMissing


def load_pyplot() -> Any:
    """matplotlib's pyplot, drawing to files only. Raises LibraryMissing with the fix."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise LibraryMissing(
            "matplotlib is missing, which draws the plots", "pip install 'streamwatch[train]'"
        ) from None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
