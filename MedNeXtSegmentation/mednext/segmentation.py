"""What a run gives back: labels on the source grid, what they mean, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import GeometryError
from .geometry import Geometry
from .labels import MAX_LABEL, Label, choose_labels


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A labelmap with the meaning of its values.

    `labelmap` is `(Z, Y, X)`, uint8 or uint16, on the grid of the image that was segmented; 0 is background.
    `labels` names every value that may occur, also those that were not found. `provenance` says how it was
    made (model, version, SHA-256 of the folds, options, time, software). `uncertainty` is `(Z, Y, X)` float32
    in [0, 1], or None.

    Raises `GeometryError` when an array is not on the grid.
    """

    labelmap: np.ndarray
    geometry: Geometry
    labels: tuple[Label, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
    uncertainty: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, array in (("labelmap", self.labelmap), ("uncertainty", self.uncertainty)):
            if array is not None and array.shape != self.geometry.shape:
                raise GeometryError(
                    f"The {name} of shape {array.shape} is not on the grid of shape {self.geometry.shape}."
                )

    def only(self, structures: Sequence[str | int]) -> Segmentation:
        """The segmentation with these structures alone, given by name or value; all else is background.

        Raises the errors of `choose_labels`.
        """
        labels = choose_labels(self.labels, structures)
        kept = [label.value for label in labels]
        lookup = np.zeros(np.iinfo(self.labelmap.dtype).max + 1, dtype=self.labelmap.dtype)
        lookup[kept] = kept
        provenance = {**self.provenance, "structures": ", ".join(label.name for label in labels)}
        return replace(self, labelmap=lookup[self.labelmap], labels=labels, provenance=provenance)

    def volumes_ml(self) -> dict[str, float]:
        """The volume of each label in mL, in the order of the labels; 0.0 for one that was not found."""
        counts = np.zeros(MAX_LABEL + 1, dtype=np.int64)
        for plane in self.labelmap:  # one by one: bincount makes eight bytes of every voxel that it is given
            counts += np.bincount(plane.ravel(), minlength=len(counts))
        ml = self.geometry.voxel_volume_ml
        return {label.name: float(counts[label.value]) * ml for label in self.labels}
