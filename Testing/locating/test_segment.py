"""One run segments both sides in their boxes, tells how it found them, and leaves crops as they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle
from mednext import Geometry, Roi, Segmentation, Volume, segment
from mednext.cli import main
from mednext.errors import GeometryError, LocationError, OptionError
from mednext.images.formats.image_files import write_image
from mednext.inference.options import Options
from mednext.inference.progress import Progress
from mednext.model.bundle import Bundle
from mednext.model.location import Location, Place
from mednext.segmentation.formats.seg_nrrd import read_provenance

SIZE = (70, 40, 36)
GRID = Geometry(SIZE, (1.0, 1.0, 1.0), (-35.0, 0.0, 0.0))  # the patient's left has positive x, as in ITK
BOXES = {
    "left": Roi((-30.0, -36.0, 4.0), (-6.0, -8.0, 30.0)),
    "right": Roi((6.0, -36.0, 4.0), (30.0, -8.0, 30.0)),
}
PLACES = (
    Place("left", (-27.0, -22.0, -11.0), (24.0, 28.0, 26.0)),
    Place("right", (27.0, -22.0, -11.0), (24.0, 28.0, 26.0)),
)
LOCATION = Location("icbm152", "spleen", PLACES, (0.0, 100.0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("models") / "paired"
    return tiny_bundle(folder, field_of_view=(26.0, 28.0, 24.0), location=LOCATION, network=TINY_NETWORK)


def volume(size: tuple[int, int, int] = SIZE) -> Volume:
    array = np.random.default_rng(0).normal(100, 20, (1, *size[::-1])).astype(np.float32)
    return Volume(array, Geometry(size, (1.0, 1.0, 1.0), (-35.0, 0.0, 0.0)), ("T1",))


Run = tuple[Segmentation, list[Progress]]


@pytest.fixture(scope="module")
def run(bundle: Bundle) -> Run:
    """A segmentation of both sides, and its progress."""
    steps: list[Progress] = []
    options = Options("cpu", mirroring=False, boxes=BOXES, uncertainty=True, intensities=True)
    return segment(volume(), bundle, options, progress=steps.append), steps


def test_both_sides_are_segmented_as_each_box_alone_would_be(bundle: Bundle, run: Run) -> None:
    found, _ = run
    assert [label.name for label in found.labels] == [
        "left spleen",
        "left liver",
        "right spleen",
        "right liver",
    ]
    for roi, offset in ((BOXES["left"], 2), (BOXES["right"], 4)):
        alone = segment(volume(), bundle, roi=roi, device="cpu", mirroring=False)
        box = roi.box_in(GRID)
        here = found.labelmap[box]
        np.testing.assert_array_equal(here[here > 0], alone.labelmap[box][here > 0] + offset)
        assert (here > 0).any()
    right_half = found.labelmap[..., :35]  # negative x of ITK
    assert set(np.unique(right_half)) <= {0, 5, 6}
    assert set(np.unique(found.labelmap[..., 35:])) <= {0, 3, 4}


def test_the_provenance_tells_boxes_asymmetry_and_the_users_way(run: Run) -> None:
    found = run[0].provenance
    assert found["box_left_ras_mm"] == "-30.0 -36.0 4.0 -6.0 -8.0 30.0"
    assert found["location"] == "boxes given by the user"
    assert found["locate"].startswith("boxes -30 -36 4")
    left, right = (float(found[f"{side}_ml"]) for side in ("left", "right"))
    assert float(found["asymmetry_percent"]) == pytest.approx(200 * (left - right) / (left + right), abs=0.06)
    assert found["roi_ras_mm"] == ""


def test_progress_counts_both_sides_once(run: Run) -> None:
    network = [step for step in run[1] if step.stage == "network"]
    assert [step.done for step in network] == sorted(step.done for step in network)
    assert network[-1].done == network[-1].total
    assert len({step.total for step in network}) == 1


def test_doubts_are_told_during_the_run_and_kept(run: Run) -> None:
    found, steps = run
    doubts = [step.remark for step in steps if "reaches the border" in step.remark]
    assert doubts  # the labels of random weights are anywhere
    assert all(doubt in found.provenance["warning"] for doubt in doubts)


def test_uncertainty_and_intensities_are_of_both_sides(run: Run) -> None:
    found, _ = run
    for roi in BOXES.values():
        assert found.uncertainty[roi.box_in(GRID)].any()
    assert not found.uncertainty[..., 32:38].any()
    measured = json.loads(found.provenance["intensities"])
    assert "left spleen mean of T1 (a.u.)" in measured or "left liver mean of T1 (a.u.)" in measured


def test_structures_of_the_model_are_kept_on_both_sides(run: Run) -> None:
    found, _ = run
    assert [label.name for label in found.only(["spleen"]).labels] == ["left spleen", "right spleen"]
    assert set(np.unique(found.only([1]).labelmap)) <= {0, 3, 5}


def test_a_crop_is_segmented_as_ever(bundle: Bundle) -> None:
    found = segment(volume((26, 30, 28)), bundle, device="cpu", mirroring=False)
    assert [label.name for label in found.labels] == ["spleen", "liver"]
    assert "location" not in found.provenance


def test_a_whole_image_that_shows_no_head_is_refused_with_a_remedy(bundle: Bundle) -> None:
    with pytest.raises(LocationError, match="give a region of interest"):
        segment(volume(), bundle, device="cpu", mirroring=False)


def test_without_locating_a_whole_image_is_warned_of(bundle: Bundle) -> None:
    found = segment(volume(), bundle, device="cpu", mirroring=False, locate="none")
    assert "expect structures in wrong places" in found.provenance["warning"]
    assert [label.name for label in found.labels] == ["spleen", "liver"]


def test_a_box_outside_of_the_image_is_refused(bundle: Bundle) -> None:
    far = {**BOXES, "left": Roi((-300.0, -36.0, 4.0), (-270.0, -8.0, 30.0))}
    with pytest.raises(GeometryError, match="outside the image"):
        segment(volume(), bundle, boxes=far, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"locate": "always"}, "no way to locate 'always'"),
        ({"boxes": {"left": BOXES["left"]}}, "one for left and one for right"),
        ({"boxes": BOXES, "roi": BOXES["left"]}, "give one of them"),
        ({"boxes": {"left": (1, 2), "right": (3, 4)}}, "must be Rois"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Options(**options)


def test_boxes_pass_through_json() -> None:
    options = Options(boxes=BOXES)
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_a_result_of_both_sides_is_finished_for_a_batch(bundle: Bundle, tmp_path: Path) -> None:
    from mednext.batch.case import Case
    from mednext.batch.report import DONE
    from mednext.batch.run import Batch

    calls = []

    def carry_out(_case: Case, _read: object, _alive: object):
        calls.append(1)
        return segment(volume(), bundle, options)

    options = Options(boxes=BOXES, device="cpu", mirroring=False)
    case = Case("head", ("head",), (), "head")
    for _ in range(2):
        batch = Batch.of(tmp_path, bundle.model, options, lambda case: [], carry_out, structures=["spleen"])
        (row,) = batch.run([case])
        assert row.status == DONE
        assert set(row.volumes_ml) == {"left spleen", "right spleen"}
        assert row.asymmetry_percent == float(
            segment(volume(), bundle, options).provenance["asymmetry_percent"]
        )
    assert len(calls) == 1


def test_the_command_takes_boxes_and_prints_the_difference_of_the_sides(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, output = tmp_path / "head.nii.gz", tmp_path / "head.seg.nrrd"
    write_image(image, volume().array[0], GRID)
    boxes = ["--box", "left=-30,-36,4,-6,-8,30", "--box", "right=6,-36,4,30,-8,30"]
    model = ["--model", str(bundle.path), "--device", "cpu", "--no-mirror"]
    assert main(["segment", str(image), "-o", str(output), *model, *boxes]) == 0
    printed = capsys.readouterr().out
    assert "left spleen" in printed and "left - right" in printed
    assert read_provenance(output)["box_right_ras_mm"] == "6.0 -36.0 4.0 30.0 -8.0 30.0"
    assert main(["segment", str(image), "-o", str(tmp_path / "b.seg.nrrd"), *model, "--locate", "none"]) == 0
    assert "expect structures in wrong places" in read_provenance(tmp_path / "b.seg.nrrd")["warning"]


def test_a_box_without_its_side_is_refused(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["segment", "head.nii.gz", "-o", str(tmp_path / "a.nii.gz"), "--box", "1,2,3,4,5,6"]
    assert main(arguments) == 2
    assert "--box must be like left=" in capsys.readouterr().err
