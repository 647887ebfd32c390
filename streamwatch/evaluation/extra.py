"""The libraries of the extra `evaluate`, imported where they are used: what does not measure runs without them."""

from __future__ import annotations

import importlib
from typing import Any

from streamwatch.distribution import install_extra
from streamwatch.errors import LibraryMissing

_FIX = install_extra("evaluate")


def load_sklearn(module: str) -> Any:
    """A module of scikit-learn, such as `metrics`. Raises LibraryMissing with the fix."""
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError:
        raise LibraryMissing("scikit-learn is missing, which computes the metrics", _FIX) from None


def load_pyplot() -> Any:
    """matplotlib's pyplot, drawing to files only. Raises LibraryMissing with the fix."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise LibraryMissing("matplotlib is missing, which draws the plots", _FIX) from None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
