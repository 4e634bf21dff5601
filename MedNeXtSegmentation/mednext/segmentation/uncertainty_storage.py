"""Uncertainty as 16-bit fixed point: half the memory of float32, and right to 8e-6.

The pipeline keeps and the worker sends it so; whoever asks for it gets float32 in [0, 1].
"""

from __future__ import annotations

import numpy as np

ONE = 65535  # what stands for 1


def to_fixed_point(values: np.ndarray) -> np.ndarray:
    """The nearest uint16 for float32 in [0, 1]; of what `to_float32` gave, what it was made of."""
    return np.rint(values * np.float32(ONE)).astype(np.uint16)


def to_float32(values: np.ndarray) -> np.ndarray:
    """New float32 in [0, 1] of uint16, which may be a view with its axes in any order."""
    result = np.empty(values.shape, dtype=np.float32)
    return np.divide(values, np.float32(ONE), out=result)
