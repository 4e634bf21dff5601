"""Uncertainty as 16-bit fixed point: half the memory of float32, with an error of at most 8e-6.

A run stores it so, and the worker sends it so; users of the engine get float32 in [0, 1].
"""

from __future__ import annotations

import numpy as np

ONE = 65535  # stands for 1.0


def to_fixed_point(values: np.ndarray) -> np.ndarray:
    """The nearest uint16 for float32 in [0, 1]; the inverse of `to_float32`."""
    return np.rint(values * np.float32(ONE)).astype(np.uint16)


def to_float32(values: np.ndarray) -> np.ndarray:
    """A new float32 array in [0, 1] from uint16, which may be a view with its axes in any order."""
    result = np.empty(values.shape, dtype=np.float32)
    return np.divide(values, np.float32(ONE), out=result)
