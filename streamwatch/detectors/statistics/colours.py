"""Luma and chroma."""

from __future__ import annotations

from typing import Final

import numpy as np

LUMA_CHROMA: Final = np.array(  # ITU-R BT.601
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
"""Rows luma, blue chroma and red chroma of red, green and blue."""
