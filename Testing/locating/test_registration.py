"""A head is found however it lies and however its file stores it; what is no upright head is refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from mednext import Geometry, Roi, Volume, load_bundle
from mednext.errors import Cancelled, LocationError, OptionError
from mednext.images.geometry import LPS_TO_RAS
from mednext.library.folder_locations import resources_folder
from mednext.locating.boxes import find_boxes, given_boxes
from mednext.locating.plausibility import contradiction, refusal, registration_doubts
from mednext.locating.registration import STEPS, Registration

MODEL = load_bundle("hippocampus").model
CENTRES = {place.side: np.array(place.centre) for place in MODEL.location.places}


def template() -> sitk.Image:
    return sitk.ReadImage(str(resources_folder() / "Templates" / "icbm152.nii.gz"), sitk.sitkFloat32)


def turned(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> sitk.Euler3DTransform:
    """A rigid motion of the template's head, in LPS."""
    motion = sitk.Euler3DTransform()
    motion.SetCenter((0.0, 18.0, 8.0))
    motion.SetRotation(*np.radians(degrees).tolist())
    motion.SetTranslation(shift)
    return motion


def head(motion: sitk.Transform, axes: str = "LPS", noise: float = 0.0) -> Volume:
    """The template moved, on a grid of 2 x 2 x 3 mm that is stored along `axes`."""
    grid = sitk.Image([110, 130, 80], sitk.sitkFloat32)
    grid.SetSpacing((2.0, 2.0, 3.0))
    middle = np.array(motion.TransformPoint((0.0, 18.0, 8.0)))
    grid.SetOrigin((middle - np.array([109, 129, 79]) / 2 * (2, 2, 3)).tolist())
    image = sitk.Resample(template(), grid, motion.GetInverse(), sitk.sitkLinear, 0.0)
    if noise:
        image = sitk.AdditiveGaussianNoise(image, noise, 0.0, 1)
    image = sitk.DICOMOrient(image, axes)
    return Volume(sitk.GetArrayFromImage(image)[np.newaxis], Geometry.from_image(image))


def middles(boxes) -> dict[str, np.ndarray]:
    return {side: (np.array(roi.lower) + roi.upper) / 2 for side, roi in boxes.of_side.items()}


def test_a_turned_noisy_head_on_any_axes_is_found():
    motion = turned((12.0, -20.0, 15.0), (30.0, -20.0, 40.0))
    to_ras = LPS_TO_RAS[:3, :3]
    steps = []
    found = find_boxes(head(motion, "SAR", noise=8.0), MODEL, insist=False, step_done=lambda: steps.append(1))
    for side, centre in CENTRES.items():
        truth = to_ras @ motion.TransformPoint((to_ras @ centre).tolist())
        assert np.linalg.norm(middles(found)[side] - truth) < 3
    assert len(steps) <= STEPS
    assert found.warnings == ()


def test_a_head_whose_header_turns_it_round_is_refused_even_if_the_user_insists():
    with pytest.raises(LocationError, match=r"seems to be turned round.*insisting does not help"):
        find_boxes(head(turned((0.0, 0.0, 180.0), (0.0, 0.0, 0.0))), MODEL, insist=True)


def test_half_a_head_and_air_beside_it_is_refused_even_if_the_user_insists():
    whole = head(turned((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
    half = whole.array.copy()
    half[..., : half.shape[-1] // 2] = 0  # the patient's right
    with pytest.raises(LocationError, match=r"dark in .* of the place where the right hippocampus should be"):
        find_boxes(Volume(half, whole.geometry), MODEL, insist=True)


def test_a_registration_can_be_cancelled():
    def stop():
        raise Cancelled("now")

    with pytest.raises(Cancelled):
        find_boxes(head(turned((0, 0, 0), (0, 0, 0))), MODEL, insist=False, step_done=stop)


def test_an_image_without_contrast_is_refused():
    volume = Volume(np.full((1, 30, 30, 30), 5.0, np.float32), Geometry((30, 30, 30), (5.0, 5.0, 5.0)))
    with pytest.raises(LocationError, match="same intensity everywhere"):
        find_boxes(volume, MODEL, insist=False)


def registration(matrix: np.ndarray, similarity: float = 0.3, **changes: float) -> Registration:
    to_image = np.eye(4)
    to_image[:3, :3] = matrix
    turned = changes.get("turned", 0.05)
    return Registration(
        to_image, similarity, changes.get("spread", 1.0), int(changes.get("agreeing", 2)), turned, "head"
    )


@pytest.mark.parametrize(
    ("matrix", "similarity", "reason"),
    [
        (np.diag([1.5, 1.5, 1.5]), 0.3, "1.50 times the usual size"),
        (np.diag([1.3, 1.0, 0.7]), 0.3, "0.70 to 1.30 times"),
        (np.eye(3), 0.05, "resembles the template too little"),
    ],
)
def test_an_implausible_transform_is_refused(matrix, similarity, reason):
    assert reason in refusal(registration(matrix, similarity))


@pytest.mark.parametrize(
    ("matrix", "changes", "reason"),
    [
        (np.diag([-1.0, 1.0, 1.0]), {}, "mirror image"),
        (np.diag([-1.0, -1.0, 1.0]), {}, "tilted by 180 degrees"),
        (np.eye(3), {"turned": 0.31}, "turned round"),
        (np.eye(3), {"similarity": 0.1, "turned": 0.3}, "turned round"),
    ],
)
def test_a_head_against_its_header_is_told_apart_from_an_uncertain_one(matrix, changes, reason):
    assert reason in contradiction(registration(matrix, **changes))


def test_an_image_of_another_thing_does_not_contradict_its_header():
    assert contradiction(registration(np.diag([-1.0, -1.0, 1.0]), 0.05, turned=0.09)) == ""


def test_a_plausible_transform_raises_no_doubt():
    found = registration(0.9 * np.eye(3))
    assert contradiction(found) == refusal(found) == ""
    assert registration_doubts(found) == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"similarity": 0.14}, "resembles the template little"),
        ({"spread": 25.0}, "places 25 mm away"),
        ({"similarity": 0.2, "agreeing": 0}, "no other start"),
    ],
)
def test_an_uncertain_transform_is_told(changes, told):
    assert told in " ".join(registration_doubts(registration(np.eye(3), **changes)))


GRID = Geometry((100, 100, 100), (2.0, 2.0, 2.0), (-100.0, -100.0, -100.0))


def test_boxes_on_exchanged_sides_are_refused():
    left, right = Roi((-40, -40, -20), (-10, 10, 20)), Roi((10, -40, -20), (40, 10, 20))
    assert given_boxes({"left": left, "right": right}, GRID).of_side["left"] == left
    with pytest.raises(OptionError, match="exchange them"):
        given_boxes({"left": right, "right": left}, GRID)
