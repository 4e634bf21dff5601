"""Images for tests of what is refused, and what a refusal must look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mednext.geometry import Geometry
from mednext.volume import read_volume, write_image

GRID = Geometry((12, 11, 10), (1, 1, 2))


def noise(shape=GRID.shape):
    return np.random.default_rng(0).normal(100, 30, size=shape).astype(np.float32)


def written(path, array=None, geometry=GRID):
    write_image(path, noise() if array is None else array, geometry)
    return path


def refused(path, error, *said):
    """The path is refused with this class, in at most two sentences on one line, naming what is expected."""
    with pytest.raises(error) as caught:
        read_volume(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert "ITK ERROR" not in message
    assert Path(path).name in message
    for part in said:
        assert part in message
