"""The face detector's library reports to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LOAD = """
import numpy as np
from streamwatch.config import FaceSettings
from streamwatch.faces import load_face_detector

load_face_detector(FaceSettings()).detect([np.zeros((64, 64, 3), np.uint8)])
"""


@pytest.mark.parametrize("first", ["", "import streamwatch.faces.mobilenet"], ids=["as users do", "module alone"])
def test_nothing_is_kept_to_be_reported(first: str, tmp_path: Path) -> None:
    """With its telemetry on, onnxruntime writes a device id and a queue of events below the home at once, and sends
    them seconds later.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{LOAD}"],
        env={**environment, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
