"""Random heads made of two real ones, with the true centres of their hippocampi.

Each is turned by up to 40 degrees, scaled, shifted, stored along any axes in slices of 1 to 5 mm, perhaps cut
at the neck or the vertex, with a bias field, noise and a changed contrast.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume

from .. import ROOT

SOURCES = ("colin27", "colin27 without skull", "icbm152 without skull")
AAL_HIPPOCAMPUS = {"left": 37, "right": 38}
ICBM_CENTRES = {"left": (-27.0, -22.0, -11.0), "right": (27.0, -22.0, -11.0)}  # mm RAS

RAS = np.diag([-1.0, -1.0, 1.0])
BRAIN = np.array([0.0, -18.0, 8.0])  # middle of the brain in both sources, mm RAS
_FIELD_MM = np.array([200.0, 240.0, 220.0])


@dataclass(frozen=True, eq=False)
class Head:
    """A random head: `volume` has one channel; `centres` are the true ones in mm RAS; `told` describes it."""

    volume: Volume
    centres: dict[str, np.ndarray]
    told: dict[str, str | float]


def data_folder() -> Path:
    """The folder of Colin27 and its labels."""
    return Path(os.environ.get("MEDNEXT_DATA", ROOT.parent / "shared" / "data")) / "whole_head"


def random_head(seed: int) -> Head:
    """The head with this number, always the same."""
    random = np.random.default_rng(seed)
    source = str(random.choice(SOURCES, p=[0.5, 0.25, 0.25]))
    image, centres = source_head(source)
    angle = float(random.uniform(0, 40))
    turn = _turned(random.normal(size=3), angle) @ np.diag(random.uniform(0.93, 1.07, 3))
    shift = random.uniform(-60, 60, 3)
    offset = BRAIN + shift - turn @ BRAIN
    moved = {side: turn @ centre + offset for side, centre in centres.items()}
    cut = str(random.choice(["none", "none", "neck", "vertex"]))
    grid, thick, axis = _grid(random, BRAIN + shift, [centre[2] for centre in moved.values()], cut)
    image = _through_slices(image, turn, thick, axis)
    to_source = np.linalg.inv(turn)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((RAS @ to_source @ RAS).ravel().tolist())
    transform.SetTranslation((RAS @ (-to_source @ offset)).tolist())
    resampled = sitk.Resample(image, grid, transform, sitk.sitkLinear, 0.0)
    array, look = _looks(sitk.GetArrayFromImage(resampled), random, "without" in source)
    told: dict[str, str | float] = {"source": source, "angle": angle, "cut": cut, "thickness": thick, **look}
    return Head(Volume(array[np.newaxis], Geometry.from_image(grid)), moved, told)


@cache
def source_head(name: str) -> tuple[sitk.Image, dict[str, np.ndarray]]:
    """A real head, and the centres of its hippocampi in mm RAS."""
    if name.startswith("icbm152"):
        import nilearn

        folder = Path(nilearn.__file__).parent / "datasets" / "data"
        image = sitk.ReadImage(
            str(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"), sitk.sitkFloat32
        )
        return image, {side: np.array(centre) for side, centre in ICBM_CENTRES.items()}
    image = sitk.ReadImage(str(data_folder() / "ch2.nii.gz"), sitk.sitkFloat32)
    aal = sitk.ReadImage(str(data_folder() / "aal.nii.gz"))
    centres = {}
    for side, value in AAL_HIPPOCAMPUS.items():
        middle = np.argwhere(sitk.GetArrayViewFromImage(aal) == value).mean(axis=0)[::-1]
        centres[side] = RAS @ image.TransformContinuousIndexToPhysicalPoint(middle.tolist())
    if "without" in name:  # AAL draws grey matter: close it over the white matter
        brain = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(aal > 0, [6, 6, 6]))
        image = sitk.Mask(image, sitk.BinaryDilate(brain, [2, 2, 2]))
    return image, centres


def _turned(axis: np.ndarray, degrees: float) -> np.ndarray:
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _grid(
    random: np.random.Generator, middle: np.ndarray, heights: list[float], cut: str
) -> tuple[sitk.Image, float, int]:
    """An empty image along any axes, its slice thickness, and the axis of RAS across its slices."""
    middle = middle + random.uniform(-12, 12, 3)
    low, high = middle - _FIELD_MM / 2, middle + _FIELD_MM / 2
    if cut == "neck":
        low[2] = min(heights) - random.uniform(24, 45)
    if cut == "vertex":
        high[2] = max(heights) + random.uniform(35, 65)
    axes, signs = random.permutation(3), random.choice([-1, 1], 3)
    spacing = random.uniform(0.8, 1.3, 3)
    slices = int(random.integers(3))
    spacing[slices] = random.uniform(1, 5)
    direction = np.zeros((3, 3))
    origin = np.zeros(3)
    size = []
    for index, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        direction[axis, index] = sign
        origin[axis] = low[axis] if sign > 0 else high[axis]
        size.append(int((high[axis] - low[axis]) / spacing[index]))
    grid = sitk.Image(size, sitk.sitkFloat32)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection((RAS @ direction).ravel().tolist())
    grid.SetOrigin((RAS @ origin).tolist())
    return grid, float(spacing[slices]), int(axes[slices])


def _through_slices(image: sitk.Image, turn: np.ndarray, thick: float, axis: int) -> sitk.Image:
    """The image blurred across slices, whose normal is an axis of RAS after the turn."""
    if thick < 1.5:
        return image
    across = np.abs(np.linalg.inv(turn) @ np.eye(3)[axis])
    return sitk.DiscreteGaussian(image, [float(max(0.1, 0.4 * thick * share)) ** 2 for share in across])


def _looks(
    array: np.ndarray, random: np.random.Generator, stripped: bool
) -> tuple[np.ndarray, dict[str, str | float]]:
    """The voxels with another contrast, a bias field and noise; and how much of each."""
    array = np.clip(array / np.percentile(array[array > 0], 99), 0, 1.3)
    inside = array > 0.02
    contrast = str(random.choice(["T1", "gamma", "inverted"], p=[0.4, 0.4, 0.2]))
    if contrast == "gamma":
        array = array ** random.uniform(0.55, 1.8)
    elif contrast == "inverted":
        array = np.where(inside, np.maximum(1.1 - array, 0), 0)
    bias, noise = float(random.uniform(0, 0.5)), float(random.uniform(0, 0.08))
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in array.shape), indexing="ij", sparse=True)
    a, b, c, d, e, f = random.normal(size=6)
    field = a * x + b * y + c * z + 0.5 * (d * x * y + e * y * z + f * x * z)
    array = array * (1 + bias * field / np.abs(field).max())
    one, other = (noise * random.normal(size=array.shape) for _ in range(2))
    noisy = np.hypot(array + one, other)
    noisy = np.where(inside, noisy, 0) if stripped else noisy
    return (1000 * noisy).astype(np.float32), {"contrast": contrast, "bias": bias, "noise": noise}
