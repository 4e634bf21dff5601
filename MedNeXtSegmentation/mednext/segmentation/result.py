"""The result of a run: labels on the source grid, their meaning, and their provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ..errors import GeometryError
from ..images.geometry import Geometry
from ..model.labels import MAX_LABEL, Label, Region, choose_structures
from ..model.sides import has_sides, sided_structures


class Described(Protocol):
    """A result without its voxels: the grid, the labels, and how it was made."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def labels(self) -> tuple[Label, ...]: ...

    @property
    def provenance(self) -> Mapping[str, str]: ...

    @property
    def regions(self) -> tuple[Region, ...]: ...


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A labelmap with the meaning of its values.

    `labelmap` is `(Z, Y, X)`, uint8 or uint16, on the grid of the segmented image; 0 is background. `labels`
    name every value that may occur, found or not. `provenance` holds model, version, SHA-256 of the folds,
    options, time and software. `uncertainty` is `(Z, Y, X)` float32 in [0, 1], or None. `regions` are sets of
    these labels with names of their own.

    Raises `GeometryError` when an array is not on the grid.
    """

    labelmap: np.ndarray
    geometry: Geometry
    labels: tuple[Label, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
    uncertainty: np.ndarray | None = None
    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        for name, array in (("labelmap", self.labelmap), ("uncertainty", self.uncertainty)):
            if array is not None and array.shape != self.geometry.shape:
                raise GeometryError(
                    f"The {name} of shape {array.shape} is not on the grid of shape {self.geometry.shape}."
                )

    def only(self, structures: Sequence[str | int]) -> Segmentation:
        """The segmentation with only these structures, given by name or value; all else is background.

        A region keeps all of its labels. In a result of both sides, a structure of the model means both.
        Raises the errors of `choose_labels`.
        """
        if has_sides(self.provenance):
            structures = sided_structures(structures, self.labels, self.regions)
        labels, regions = choose_structures(self.labels, structures, self.regions)
        kept = [label.value for label in labels]
        lookup = np.zeros(np.iinfo(self.labelmap.dtype).max + 1, dtype=self.labelmap.dtype)
        lookup[kept] = kept
        provenance = {**self.provenance, "structures": names_of(labels)}
        chosen = replace(self, labelmap=lookup[self.labelmap], labels=labels, regions=regions)
        return replace(chosen, provenance=provenance).telling_regions()

    def telling_regions(self) -> Segmentation:
        """The segmentation with its regions in the provenance: their labels and volumes."""
        others = {key: text for key, text in self.provenance.items() if key != "regions"}
        if self.regions:
            volumes = self.volumes_ml()
            told = (
                f"{region.name} = {_sum(region)}: {volumes[region.name]:.4f} mL" for region in self.regions
            )
            others["regions"] = "; ".join(told)
        return replace(self, provenance=others)

    def volumes_ml(self) -> dict[str, float]:
        """The volume of each region and each label in mL, in their order; 0.0 for one that was not found."""
        counts = np.zeros(MAX_LABEL + 1, dtype=np.int64)
        for plane in self.labelmap:  # plane by plane: bincount takes eight bytes a voxel
            counts += np.bincount(plane.ravel(), minlength=len(counts))
        ml = self.geometry.voxel_volume_ml
        regions = {region.name: float(counts[list(region.labels)].sum()) * ml for region in self.regions}
        return regions | {label.name: float(counts[label.value]) * ml for label in self.labels}


def names_of(labels: Sequence[Label]) -> str:
    """The names of chosen labels, as a result's provenance gives them."""
    return ", ".join(label.name for label in labels)


def _sum(region: Region) -> str:
    return " + ".join(map(str, region.labels))
