"""Register a template with an image: several starts, two resolutions, with and without skull.

The axes of an image file may be stored in any order: only the patient's space counts. Heads lie in it
upright up to a tilt, so that starts are tilted too, but never so far that left and right could change places.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import LocationError
from ..images.geometry import LPS_TO_RAS
from .similarity import Similarity
from .template import LEVELS_MM, RIMS, Template, brain_centre, template

_COARSE_MM, _FINE_MM = LEVELS_MM
_SCALE = 0.95  # the template's brain is larger than most
_TILTS_DEG = (-28.0, 0.0, 28.0)
_STEP_MM = 18.0
_TARGETS = 8  # places of the brain that are tried with all tilts
_STARTS = 8  # that are optimised
_REFINED = {"head": 3, "brain": 2}
_APART_MM, _SAME_MM = 25.0, 4.0  # between starts, and between results of different starts
_PROBES = np.array([[27.0, 22.0, -11.0], [-27.0, 22.0, -11.0], [0.0, 20.0, 60.0], [0.0, -50.0, 0.0]])  # LPS
_PLAUSIBLE_SCALE, _SCALE_TOLERANCE, _SCALE_SPREAD = 0.96, 0.1, 0.08
_THREADS = 2  # always the same number, so that sums are rounded alike everywhere
Rigid = list[sitk.Similarity3DTransform]  # up to a scale

_AS_GOOD = 0.9  # another result is as good with this share of the best similarity
_AGREEING_MM = 10.0
_RIGID = [1.0] * 6 + [0.0]  # a free scale would blow the brain up to the size of the head
_TURNS = [  # all turns by multiples of 90 degrees but the one by 0
    turn
    for axes in itertools.permutations(np.eye(3))
    for signs in itertools.product((-1, 1), repeat=3)
    if np.linalg.det(turn := np.array(axes) * signs) > 0 and np.trace(turn) < 3
]
_TURNS_REFINED = 3


@dataclass(frozen=True, eq=False)
class Registration:
    """The best transform from template to image.

    Attributes:
        to_image: 4x4, from mm RAS in the template to mm RAS in the image.
        similarity: normalised mutual information around the brain at 4 mm, 0 to 1.
        spread_mm: the largest distance between where this result and others with nearly its similarity put
            the same point; 0 where there is no other.
        agreeing: the number of other starts that led to nearly the same place.
        turned_similarity: that of the best fit of a head turned by 90 or 180 degrees: the brain is so regular
            that the template fits it fairly well back to front. More than `similarity` means a wrong header.
        rim: "head" or "brain": with which surroundings of the brain the template fitted better.
    """

    to_image: np.ndarray
    similarity: float
    spread_mm: float
    agreeing: int
    turned_similarity: float
    rim: str

    @property
    def scales(self) -> np.ndarray:
        """The factors along the three principal axes, in descending order."""
        return np.linalg.svd(self.to_image[:3, :3])[1]

    @property
    def tilt_deg(self) -> float:
        """The angle between the axes of the template and of the image's patient, about any axis."""
        left, _, right = np.linalg.svd(self.to_image[:3, :3])
        return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))

    def place(self, point_ras: tuple[float, float, float]) -> np.ndarray:
        """Where a point of the template lies in the image, both mm RAS."""
        return (self.to_image @ [*point_ras, 1.0])[:3]


def register(
    name: str, image: dict[float, sitk.Image], step_done: Callable[[], None] = lambda: None
) -> Registration:
    """Register the template `name` with an image of `levels`.

    `step_done` is called at most `STEPS` times; an error in it ends the registration.

    Raises `LocationError` where no start led anywhere.
    """
    levels = template(name)
    judge = Similarity(levels[_FINE_MM], "head", image[_FINE_MM])
    results: list[tuple[float, str, sitk.AffineTransform]] = []
    for rim in RIMS:
        starts = _optimised(levels[_COARSE_MM], rim, image[_COARSE_MM], brain_centre(name), step_done)
        for start in starts[: _REFINED[rim]]:
            refined = _refined(levels[_FINE_MM], rim, image[_FINE_MM], start)
            if refined is not None:
                results.append((judge(refined) * _plausible_scale(refined), rim, refined))
            step_done()
    results.sort(key=lambda result: -result[0])
    if not results or results[0][0] <= 0:
        raise LocationError(
            f"The template {name} fits this image nowhere: check that the image shows a whole head, or give "
            "a region of interest around the structure."
        )
    similarity, rim, best = results[0]
    others = [(value, _distance(best, other)) for value, _, other in results[1:]]
    spread = max((mm for value, mm in others if value >= _AS_GOOD * similarity), default=0.0)
    agreeing = sum(mm < _AGREEING_MM for _, mm in others)
    turned = _turned_similarity(levels, rim, image, best)
    step_done()
    return Registration(_matrix_ras(best), similarity, spread, agreeing, turned, rim)


STEPS = len(RIMS) * _STARTS + sum(_REFINED.values()) + 1


def _optimised(
    level: Template, rim: str, image: sitk.Image, centre: np.ndarray, step_done: Callable[[], None]
) -> Rigid:
    """The distinct transforms that the best starts lead to at the coarse resolution, best first."""
    similarity = Similarity(level, rim, image)
    found: list[tuple[float, sitk.Similarity3DTransform]] = []
    starts = _starts(similarity, image, centre)
    for number in range(_STARTS):
        if number < len(starts):
            moved = starts[number]
            if _optimise(level, rim, image, moved, 25, 6.0, 1.0, _RIGID):
                found.append((similarity(moved), moved))
        step_done()
    found.sort(key=lambda result: -result[0])
    return _distinct([transform for _, transform in found], _SAME_MM, len(found))


def _starts(
    similarity: Similarity, image: sitk.Image, centre: np.ndarray
) -> list[sitk.Similarity3DTransform]:
    """Distinct starts with the greatest similarity: first places of an upright brain, then tilts there."""
    upright = [(similarity(start), start) for start in _upright(image, centre)]
    upright.sort(key=lambda pair: -pair[0])
    tilted = []
    for _, start in upright[:_TARGETS]:
        for tilts in itertools.product(_TILTS_DEG, repeat=3):
            rotation = sitk.Euler3DTransform()
            rotation.SetRotation(*np.radians(tilts).tolist())
            moved = sitk.Similarity3DTransform(start)
            moved.SetMatrix((_SCALE * np.reshape(rotation.GetMatrix(), (3, 3))).ravel().tolist())
            tilted.append((similarity(moved), moved))
    tilted.sort(key=lambda pair: -pair[0])
    return _distinct([transform for value, transform in tilted if value > 0], _APART_MM, _STARTS)


def _upright(image: sitk.Image, centre: np.ndarray) -> Rigid:
    """Transforms that put the middle of the brain onto a lattice around the middle of the bright voxels."""
    points = _bright_points(image)
    middle = points.mean(axis=0)
    low, high = np.percentile(points, (1, 99), axis=0)
    x, y = (middle[axis] + _STEP_MM * np.arange(-2, 3) for axis in (0, 1))
    above = max(6, int(np.ceil((high[2] - middle[2]) / _STEP_MM)))  # necks and trunks lower the middle
    z = np.unique(np.clip(middle[2] + _STEP_MM * np.arange(-3, above), low[2], high[2]))
    return [_upright_at(np.array(target), centre) for target in itertools.product(x, y, z)]


def _bright_points(image: sitk.Image) -> np.ndarray:
    """Positions of the voxels that are not dark, `(N, 3)` in mm LPS."""
    values = sitk.GetArrayViewFromImage(image)
    bright = np.argwhere(values > 0.15 * np.percentile(values, 99))[:, ::-1]
    affine = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return bright @ affine.T + image.GetOrigin()


def _turned_similarity(
    levels: dict[float, Template], rim: str, image: dict[float, sitk.Image], upright: sitk.AffineTransform
) -> float:
    """See `Registration.turned_similarity`; the brain is where the upright one is, or amid the bright voxels.

    The images are turned, not the transforms: a versor cannot pass 180 degrees.
    """
    centre = np.array(upright.GetCenter())
    bright = _bright_points(image[_COARSE_MM])
    edges = np.percentile(bright, (1, 99), axis=0)
    targets = [np.array(upright.TransformPoint(centre.tolist())), bright.mean(axis=0), edges.mean(axis=0)]
    starts = []
    for turn, target in itertools.product(_TURNS, targets):
        turned = {mm: _turned(level, turn, target) for mm, level in image.items()}
        start = _upright_at(target, centre)
        value = Similarity(levels[_COARSE_MM], rim, turned[_COARSE_MM])(start)
        starts.append((value, start, turned))
    starts.sort(key=lambda each: -each[0])
    best = 0.0
    for _, start, turned in starts[:_TURNS_REFINED]:
        if _optimise(levels[_COARSE_MM], rim, turned[_COARSE_MM], start, 25, 6.0, 1.0, _RIGID):
            refined = _refined(levels[_FINE_MM], rim, turned[_FINE_MM], start)
            if refined is not None:
                judge = Similarity(levels[_FINE_MM], "head", turned[_FINE_MM])
                best = max(best, judge(refined) * _plausible_scale(refined))
    return best


def _turned(image: sitk.Image, turn: np.ndarray, about: np.ndarray) -> sitk.Image:
    """The image with its place in space turned about a point; the voxels are shared."""
    turned = sitk.Image(image)
    turned.SetDirection((turn @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())
    turned.SetOrigin((turn @ (image.GetOrigin() - about) + about).tolist())
    return turned


def _upright_at(target: np.ndarray, centre: np.ndarray) -> sitk.Similarity3DTransform:
    """The transform that puts the middle of the brain onto a point."""
    transform = sitk.Similarity3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetTranslation((target - centre).tolist())
    transform.SetScale(_SCALE)
    return transform


def _refined(
    level: Template, rim: str, image: sitk.Image, start: sitk.Similarity3DTransform
) -> sitk.AffineTransform | None:
    """The affine transform that a coarse one leads to when refined; None where it left the image."""
    moved = sitk.Similarity3DTransform(start)
    if not _optimise(level, rim, image, moved, 12, 3.0, 0.3):
        return None
    affine = sitk.AffineTransform(3)
    affine.SetCenter(moved.GetCenter())
    affine.SetMatrix(moved.GetMatrix())
    affine.SetTranslation(moved.GetTranslation())
    return affine if _optimise(level, rim, image, affine, 40, 3.0, 0.4) else None


def _optimise(
    level: Template,
    rim: str,
    image: sitk.Image,
    transform: sitk.Transform,
    iterations: int,
    step: float,
    share: float,
    weights: list[float] | None = None,
) -> bool:
    """Move the transform, in place, to greater mutual information; False where it left the image."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(_THREADS)
    method.SetMetricAsMattesMutualInformation(24)
    method.SetMetricFixedMask(level.masks[rim])
    if share < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(share, 0)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        step, 0.05, iterations, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    if weights:
        method.SetOptimizerWeights(weights)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(level.image, image)
    except RuntimeError:  # ITK's only error class: too few voxels of the template lie in the image
        return False
    return True


def _plausible_scale(transform: sitk.AffineTransform) -> float:
    """1 for the size of a usual brain, less beyond."""
    size = np.linalg.det(np.reshape(transform.GetMatrix(), (3, 3)))
    if size <= 0:
        return 0.0
    beyond = max(0.0, abs(np.log(size) / 3 - np.log(_PLAUSIBLE_SCALE)) - _SCALE_TOLERANCE)
    return float(np.exp(-0.5 * (beyond / _SCALE_SPREAD) ** 2))


def _distinct(transforms: Rigid, apart_mm: float, most: int) -> Rigid:
    """The first of the transforms that differ from each other by more than `apart_mm` at any probe."""
    kept: Rigid = []
    for transform in transforms:
        if len(kept) < most and all(_distance(transform, other) > apart_mm for other in kept):
            kept.append(transform)
    return kept


def _distance(one: sitk.Transform, other: sitk.Transform) -> float:
    """The largest distance in mm between where two transforms put the same probe."""
    moved = [np.array([each.TransformPoint(probe) for probe in _PROBES.tolist()]) for each in (one, other)]
    return float(np.linalg.norm(moved[0] - moved[1], axis=1).max())


def _matrix_ras(transform: sitk.AffineTransform) -> np.ndarray:
    """The 4x4 matrix of an affine transform of LPS as one of RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return LPS_TO_RAS @ matrix @ LPS_TO_RAS
