"""Where things lie in the source tree."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PORTRAIT = ROOT / "streamwatch" / "assets" / "astronaut.png"
