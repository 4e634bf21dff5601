"""Heads at and beyond the limits, and images of other things: each found rightly, warned of, or refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import SimpleITK as sitk
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume

from .cases import BRAIN, RAS, SOURCES, Head, data_folder, source_head

FOUND, DOUBTED = "found", "doubted"  # within reach, or said not to be; only said not to be

_SIZE_MM = (200.0, 240.0, 220.0)


def hard_heads() -> Iterator[tuple[str, str, Callable[[], Head]]]:
    """The kind of each case, the outcome that it must have (`FOUND` or `DOUBTED`), and how to make it."""
    for number, source in enumerate(SOURCES):
        whole = "without" not in source
        for kind, outcome, made in _of_source(source, np.random.default_rng(number), whole):
            yield f"{kind}, {source}", outcome, made
    for kind, array, geometry in _other_things():
        yield kind, DOUBTED, partial(Head, Volume(array[np.newaxis], geometry), {}, {})


def _of_source(
    source: str, random: np.random.Generator, whole: bool
) -> Iterator[tuple[str, str, Callable[[], Head]]]:
    for number in range(3):
        angles = random.choice([-1, 1], 3) * random.uniform(20, 30, 3)
        yield f"turned about three axes {number}", FOUND, partial(head, source, angles=angles)
    for axis, degrees in itertools.product(range(3), (-40.0, 40.0)):
        angles = degrees * np.eye(3)[axis]
        yield f"turned by {degrees:g} about axis {axis}", FOUND, partial(head, source, angles=angles)
    for number in range(2):
        shift = random.choice([-1, 1], 3) * random.uniform(80, 110, 3)
        yield (
            f"in a corner of an empty field {number}",
            FOUND,
            partial(head, source, shift=shift, size=(440.0,) * 3),
        )
    for axis in range(3):
        spacing = np.ones(3)
        spacing[axis] = 5.0
        yield f"slices of 5 mm along axis {axis}", FOUND, partial(head, source, spacing=spacing)
        yield (
            f"voxels of 0.5 mm and slices of 7 mm along axis {axis}",
            FOUND,
            partial(
                head,
                source,
                spacing=np.where(np.arange(3) == axis, 7.0, 0.5),
                angles=random.uniform(-20, 20, 3),
            ),
        )
    yield (
        "cut at neck and vertex",
        FOUND,
        partial(head, source, low=(None, None, -45.0), high=(None, None, 45.0)),
    )
    yield (
        "cut at neck, vertex and forehead",
        FOUND,
        partial(head, source, low=(None, None, -42.0), high=(None, 50.0, 50.0)),
    )
    yield (
        "stored as int8",
        FOUND,
        partial(head, source, look=lambda a, _: np.round(a / 1000 * 100).astype(np.int8)),
    )
    for name, look in _LOOKS.items():
        yield name, FOUND, partial(head, source, look=look)
    if whole:
        yield "defaced", FOUND, partial(head, source, look=_defaced)
        yield "as a CT", FOUND, partial(head, source, look=_as_ct)
        yield (
            "with shoulders",
            FOUND,
            partial(
                head, source, look=_with_shoulders, size=(420.0, 300.0, 460.0), shift=np.array([0, 0, 100.0])
            ),
        )
    yield "small, of a child", FOUND, partial(head, source, scale=0.82)
    for side, low, high in (
        ("left", (None,) * 3, (0.0, None, None)),
        ("right", (0.0, None, None), (None,) * 3),
    ):
        yield f"only the {side} half in the image", DOUBTED, partial(head, source, low=low, high=high)
        yield f"only the {side} half, and air", DOUBTED, partial(head, source, look=_half(side))
        yield f"only the {side} two thirds, and air", DOUBTED, partial(head, source, look=_half(side, 12.0))
    yield "only the upper half", DOUBTED, partial(head, source, low=(None, None, 0.0))
    yield "only the upper half, and air", DOUBTED, partial(head, source, look=_above(0.0))
    yield "only the lower part", DOUBTED, partial(head, source, high=(None, None, -14.0))
    yield "only the lower part, and air", DOUBTED, partial(head, source, look=_below(-14.0))
    yield "only the front half", DOUBTED, partial(head, source, low=(None, -12.0, None))
    yield "only the back half", DOUBTED, partial(head, source, high=(None, -30.0, None))
    for name, turn in _WRONG_HEADERS.items():
        yield f"header {name}", DOUBTED, partial(_turned_header, source, turn)
    yield "spacing told as twice as much", DOUBTED, partial(head, source, told=2.0)
    yield "spacing told as half as much", DOUBTED, partial(head, source, told=0.5)


def head(
    source: str,
    angles: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    size: tuple[float, ...] = _SIZE_MM,
    spacing: np.ndarray | None = None,
    low: tuple[float | None, ...] = (None,) * 3,
    high: tuple[float | None, ...] = (None,) * 3,
    look: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    scale: float = 1.0,
    told: float = 1.0,
) -> Head:
    """A head: turned (degrees about R, A, S), then shifted (mm), in a field with edges (mm RAS).

    `look` gets the voxels `(Z, Y, X)` and their points `(Z, Y, X, 3)` in the unturned head, mm RAS. The
    header has `told` times the spacing.
    """
    image, centres = source_head(source)
    turn = scale * _rotation(np.zeros(3) if angles is None else angles)
    shift = np.zeros(3) if shift is None else shift
    spacing = np.full(3, 1.2) if spacing is None else spacing
    offset = BRAIN + shift - turn @ BRAIN
    middle = BRAIN if max(size) > 300 else BRAIN + shift
    edges = [middle - np.array(size) / 2, middle + np.array(size) / 2]
    for edge, given in zip(edges, (low, high), strict=True):
        for axis, value in enumerate(given):
            edge[axis] = edge[axis] if value is None else value
    grid = sitk.Image(np.maximum(1, ((edges[1] - edges[0]) / spacing).astype(int)).tolist(), sitk.sitkFloat32)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(RAS.ravel().tolist())
    grid.SetOrigin((RAS @ edges[0]).tolist())
    back = np.linalg.inv(turn)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((RAS @ back @ RAS).ravel().tolist())
    transform.SetTranslation((RAS @ (-back @ offset)).tolist())
    blurred = image
    if spacing.max() > 1.5:
        blurred = sitk.DiscreteGaussian(image, [float(max(0.1, 0.4 * side) ** 2) for side in spacing])
    array = sitk.GetArrayFromImage(sitk.Resample(blurred, grid, transform, sitk.sitkLinear, 0.0))
    array = 1000 * np.clip(array / np.percentile(array[array > 0], 99), 0, 1.3)
    if look is not None:
        points = np.stack(
            np.meshgrid(
                *(e + s * np.arange(n) for e, s, n in zip(edges[0], spacing, grid.GetSize(), strict=True)),
                indexing="ij",
            ),
            axis=-1,
        ).transpose(2, 1, 0, 3)
        array = look(array, (points - offset) @ back.T)
    grid.SetSpacing((spacing * told).tolist())
    moved = {side: turn @ centre + offset for side, centre in centres.items()}
    return Head(Volume(array[np.newaxis], Geometry.from_image(grid)), moved, {"source": source})


def _rotation(degrees: np.ndarray) -> np.ndarray:
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*np.radians(degrees).tolist())
    return np.reshape(rotation.GetMatrix(), (3, 3))


def _noise(array: np.ndarray, amount: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, amount, array.shape)


def _t2(array: np.ndarray, _: np.ndarray) -> np.ndarray:
    inside = array > 60
    return np.where(inside, np.clip(1300 - array, 0, None) ** 1.5 / 40, 0)


def _flair(array: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Fluid dark, grey matter brighter than white, fat bright."""
    x = array / 1000
    return 1000 * np.interp(x, [0, 0.15, 0.35, 0.6, 0.8, 1.0, 1.3], [0, 0.05, 0.3, 0.75, 0.55, 0.6, 1.0])


def _strong_bias(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    return array * np.exp(points @ np.array([0.008, 0.01, 0.006]))


def _surface_coil(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    away = np.linalg.norm(points - np.array([0, -110, 20.0]), axis=-1)
    return array * (0.15 + 3 * np.exp(-away / 50))


def _very_noisy(array: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.hypot(array + _noise(array, 180), _noise(array[::-1], 180))


def _bright_spot(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.where(np.linalg.norm(points - np.array([40, 10, 40.0]), axis=-1) < 12, 30000, array)


def _signed(array: np.ndarray, _: np.ndarray) -> np.ndarray:
    return (array - array.mean()) / array.std()


_LOOKS = {
    "T2-like": _t2,
    "FLAIR-like": _flair,
    "strong bias": _strong_bias,
    "bias of a surface coil": _surface_coil,
    "very noisy": _very_noisy,
    "a spot thirty times as bright": _bright_spot,
    "whitened": _signed,
}


def _defaced(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    face = (points[..., 1] > 25) & (points[..., 2] < 0.45 * (points[..., 1] - 60) - 15)
    return np.where(face, 0, array)


def _as_ct(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bone where the skull is dark in T1, in HU."""
    head = sitk.BinaryFillhole(
        sitk.BinaryMorphologicalClosing(sitk.GetImageFromArray((array > 100).astype(np.uint8)), [6] * 3)
    )
    inside = sitk.GetArrayFromImage(head) > 0
    distance = np.linalg.norm((points - BRAIN) / (70, 88, 68), axis=-1)
    bone = inside & (array < 250) & (distance > 0.92) & (points[..., 2] > -60)
    soft = np.interp(array / 1000, [0, 0.2, 0.6, 0.8, 1.3], [5, 10, 38, 30, 20])
    return np.where(bone, 900, np.where(inside, soft, -1000)) + _noise(array, 6)


def _with_shoulders(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A neck and a trunk with lungs below the head."""
    x, y, z = np.moveaxis(points, -1, 0)
    neck = (np.hypot(x / 60, (y + 25) / 65) < 1) & (z < -62) & (z > -150)
    trunk = (np.hypot(x / 195, (y + 25) / 110) < 1) & (z <= -130)
    lungs = (np.hypot((np.abs(x) - 85) / 60, (y + 25) / 75) < 1) & (z < -170)
    spine = np.hypot(x / 18, (y + 60) / 18) < 1
    texture = 550 + 200 * np.sin(x / 9) * np.sin(y / 11) * np.sin(z / 13) + _noise(array, 40)
    body = np.where(lungs, 40, np.where(spine, 250, texture))
    return np.where((neck | trunk) & (array < 60), body, array)


def _half(side: str, beyond_mm: float = 0.0) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    sign = -1 if side == "left" else 1
    return lambda array, points: np.where(sign * points[..., 0] > -beyond_mm, array, 0)


def _above(height: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda array, points: np.where(points[..., 2] > height, array, 0)


def _below(height: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda array, points: np.where(points[..., 2] < height, array, 0)


_WRONG_HEADERS = {
    "turned by 180 about S": np.diag([-1.0, -1, 1]),
    "turned by 180 about A": np.diag([-1.0, 1, -1]),
    "turned by 180 about R": np.diag([1.0, -1, -1]),
    "turned by 90 about S": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "turned by 90 about A": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    "turned by 90 about R": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "of a wrong order of axes": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "mirrored back to front": np.diag([1.0, -1, 1]),
    "mirrored upside down": np.diag([1.0, 1, -1]),
    "turned by 70 about R": _rotation(np.array([70.0, 0, 0])),
    "turned by 60 about S": _rotation(np.array([0, 0, 60.0])),
}


def _turned_header(source: str, turn: np.ndarray) -> Head:
    right = head(source)
    affine = right.volume.geometry.ijk_to_ras.copy()
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = turn @ (affine[:3, 3] - BRAIN) + BRAIN
    geometry = Geometry.from_ijk_to_ras(affine, right.volume.geometry.size)
    centres = {side: turn @ (centre - BRAIN) + BRAIN for side, centre in right.centres.items()}
    return replace(right, volume=Volume(right.volume.array, geometry), centres=centres)


def _other_things() -> Iterator[tuple[str, np.ndarray, Geometry]]:
    random = np.random.default_rng(1)
    grid = Geometry((100, 110, 90), (2.0, 2.0, 2.0), (-100.0, -92.0, -80.0))
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in grid.shape), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    noise = random.normal(0, 30, grid.shape)
    yield "noise", random.normal(500, 100, grid.shape).astype(np.float32), grid
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(noise), 3.0))
    yield "smooth noise", (500 + 200 * smooth / smooth.std()).astype(np.float32), grid
    ball = 700 * (radius < 0.8) + noise
    yield "a ball", np.clip(ball, 0, None).astype(np.float32), grid
    yield (
        "a bottle with a shell",
        np.clip(900 * ((radius > 0.75) & (radius < 0.85)) + 500 * (radius < 0.7) + noise, 0, None).astype(
            np.float32
        ),
        grid,
    )
    rings = 500 * (1 + np.sin(25 * radius)) * (radius < 0.9) + noise
    yield "shells in each other", np.clip(rings, 0, None).astype(np.float32), grid
    bone = np.hypot(x - 0.05, y) < 0.3
    knee = (
        600 * (np.hypot(x, y) < 0.7)
        + 300 * (bone & (np.abs(z) > 0.08))
        - 400 * ((np.abs(z) < 0.05) & bone)
        + noise
    )
    yield "a knee", np.clip(knee, 0, None).astype(np.float32), grid
    two = 600 * (np.hypot(np.abs(x) - 0.45, y) < 0.35) + 300 * (np.hypot(np.abs(x) - 0.45, y) < 0.12) + noise
    yield "two legs", np.clip(two, 0, None).astype(np.float32), grid
    ct = data_folder().parent / "abdomen_ct" / "ct.nii.gz"
    if ct.is_file():
        image = sitk.ReadImage(str(ct), sitk.sitkFloat32)
        array = sitk.GetArrayFromImage(image)
        yield "an abdomen", array, Geometry.from_image(image)
        yield "an abdomen, clipped", np.clip(array, -150, 250), Geometry.from_image(image)
        third = Geometry.from_image(image)
        half = array[array.shape[0] // 2 :]
        yield "an upper abdomen", half, Geometry((*third.size[:2], len(half)), third.spacing, third.origin)
