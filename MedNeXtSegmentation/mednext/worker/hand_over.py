"""The result of a run as the worker hands it over to Slicer, with nothing left to compute.

Slicer's event loop holds Python's lock: a thread of Slicer's process hardly runs, and its main thread must
not block. So the worker computes volumes and uncertain places, crops and compresses; Slicer maps the files
and copies their planes into the memory of VTK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..images.geometry import Box, Geometry
from ..model.labels import Label, Region
from ..segmentation.fingerprints import fingerprints
from ..segmentation.packed_labels import FoundLabels
from ..segmentation.result import Segmentation
from ..segmentation.uncertain_places import Place, uncertain_places
from ..segmentation.uncertainty_storage import to_fixed_point, to_float32
from ..system.cancellation import check_cancelled
from .exchange import read_object, writing_object
from .scene.label_placement import placed

RESULT_FILE = "result.json"
PERCENT = 100

Cancelled = Callable[[], bool] | None


@dataclass(frozen=True)
class Wishes:
    """The form in which the client wants the result.

    structures: names or label values of those to keep; None for all.
    grid: 4x4, row by row, from the image's indices (i, j, k) to those of the grid for the labels; None for
        the image's own grid.
    in_percent: the uncertainty as uint8 from 0 to 100 instead of uint16 (see `uncertainty_storage`).
    """

    structures: tuple[str | int, ...] | None = None
    grid: tuple[float, ...] | None = None
    in_percent: bool = False


ALL = Wishes()


@dataclass(frozen=True, eq=False)
class HandedOver:
    """The result of a run.

    `voxels` `(Z, Y, X)` are the labels in `box` of the grid in `Wishes`; all beyond is background. `found` is
    the whole labelmap on the grid of the image, `geometry`. `volumes_ml` has the names of regions and labels
    as keys. `uncertainty` `(Z, Y, X)` is uint16 or in percent, see `Wishes`, or None; `largest` is its
    largest value, in [0, 1]. `fingerprints` are those of the labels in `voxels`. Arrays may be mapped from
    files, which must stay as long.
    """

    geometry: Geometry
    labels: tuple[Label, ...]
    provenance: Mapping[str, str]
    volumes_ml: Mapping[str, float]
    box: Box
    voxels: np.ndarray
    found: FoundLabels
    uncertainty: np.ndarray | None = None
    largest: float = 0.0
    places: tuple[Place, ...] = ()
    regions: tuple[Region, ...] = ()
    fingerprints: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, segmentation: Segmentation, wishes: Wishes = ALL, cancelled: Cancelled = None) -> HandedOver:
        """Compute all parts of the result, which takes seconds for a large one.

        Raises `OptionError` when the model has none of the structures, `GeometryError` when the labels do not
        fit the grid, and `Cancelled` when `cancelled` answers True.
        """
        if wishes.structures is not None:
            segmentation = segmentation.only(wishes.structures)
        check_cancelled(cancelled)
        grid = np.eye(4) if wishes.grid is None else np.reshape(wishes.grid, (4, 4))
        box, voxels = placed(segmentation.labelmap, grid)
        first = (box[0].start, box[1].start, box[2].start)
        check_cancelled(cancelled)
        volumes_ml = segmentation.volumes_ml()
        check_cancelled(cancelled)
        found = FoundLabels.of(segmentation.labelmap)
        uncertainty, largest = segmentation.uncertainty, 0.0
        places: tuple[Place, ...] = ()
        if uncertainty is not None:
            check_cancelled(cancelled)
            places = tuple(
                uncertain_places(
                    uncertainty, segmentation.geometry, segmentation.labelmap, cancelled=cancelled
                )
            )
            largest = float(uncertainty.max(initial=0.0))
            uncertainty = _shortened(uncertainty, wishes.in_percent, cancelled)
        return cls(
            segmentation.geometry,
            segmentation.labels,
            segmentation.provenance,
            volumes_ml,
            box,
            voxels,
            found,
            uncertainty,
            largest,
            places,
            segmentation.regions,
            fingerprints(voxels, [label.value for label in segmentation.labels], first),
        )

    def without_voxels(self) -> HandedOver:
        """The result without its mapped arrays, which keep their files on the disk."""
        return replace(self, voxels=np.empty((0, 0, 0), self.voxels.dtype), uncertainty=None)

    def segmentation(self) -> Segmentation:
        """The result in memory, on the grid of the image."""
        uncertainty = self.uncertainty
        if uncertainty is not None:
            in_percent = uncertainty.dtype == np.uint8
            uncertainty = uncertainty / np.float32(PERCENT) if in_percent else to_float32(uncertainty)
        return Segmentation(
            self.found.labelmap(), self.geometry, self.labels, self.provenance, uncertainty, self.regions
        )

    def write(self, folder: Path, cancelled: Cancelled = None) -> None:
        """Write the files. Raises OSError when the disk is full, and `Cancelled`."""
        for _ in writing_object(folder, RESULT_FILE, self):
            check_cancelled(cancelled)

    @classmethod
    def read(cls, folder: Path) -> HandedOver:
        """The result in a folder, which must stay, since the arrays are mapped. See `read_object`."""
        return read_object(cls, folder, RESULT_FILE)


def _shortened(uncertainty: np.ndarray, in_percent: bool, cancelled: Cancelled) -> np.ndarray:
    """An uncertainty in [0, 1] as fixed point with two bytes a voxel, or in percent with one."""
    short = np.empty(uncertainty.shape, np.uint8 if in_percent else np.uint16)
    for target, plane in zip(short, uncertainty, strict=True):
        check_cancelled(cancelled)
        target[...] = np.rint(plane * PERCENT) if in_percent else to_fixed_point(plane)
    return short
