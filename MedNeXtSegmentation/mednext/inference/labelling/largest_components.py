"""Keep the largest component of each structure for which the training found that this pays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from ...segmentation.label_boxes import label_boxes

PLANES_BYTES = 2**24  # of numbers of components at a time


def keep_largest_components(
    labels: np.ndarray, structures: Sequence[int | tuple[int, ...]], fully_connected: bool
) -> None:
    """Erase, in place, everything but the largest component of each structure.

    Components of equal size all stay.

    Args:
        labels: `(Z, Y, X)`.
        structures: labels to clean up, and regions as the label values that belong to them.
        fully_connected: voxels that share an edge or a corner are connected too. nnU-Net v2 does it so;
            for v1 they must share a face.
    """
    sets = [each if isinstance(each, tuple) else (each,) for each in structures]
    boxes = label_boxes(labels, list(dict.fromkeys(itertools.chain(*sets))))
    for values in sets:
        found = [boxes[value] for value in values if value in boxes]
        if not found:
            continue
        z, y, x = (
            slice(min(side.start for side in sides), max(side.stop for side in sides))
            for sides in zip(*found, strict=True)
        )
        part = labels[z, y, x]
        mask = part == values[0] if len(values) == 1 else np.isin(part, values)
        components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.view(np.uint8)), fully_connected)
        numbers = sitk.GetArrayViewFromImage(components)
        sizes = _sizes(numbers)
        smaller = sizes < sizes[1:].max(initial=0)
        smaller[0] = False  # component 0 is everything outside of the structure
        if smaller.any():
            part[smaller[numbers]] = 0


def _sizes(components: np.ndarray) -> np.ndarray:
    """How many voxels have each number, from 0 on; some planes at a time: bincount makes int64 of all."""
    sizes = np.zeros(int(components.max()) + 1, dtype=np.int64)
    count = max(1, PLANES_BYTES // components[0].nbytes)
    for first in range(0, len(components), count):
        sizes += np.bincount(components[first : first + count].ravel(), minlength=len(sizes))
    return sizes
