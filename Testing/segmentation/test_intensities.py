"""Mean and standard deviation of images within structures, on phantoms with known values."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from fixtures.models.bundles import tiny_bundle
from mednext import Geometry, Volume, segment
from mednext.batch.case import Case
from mednext.batch.case_outcome import done
from mednext.batch.report import Report
from mednext.cli import main
from mednext.images.formats.image_files import write_image
from mednext.model.description import Channel
from mednext.model.labels import Label, Region
from mednext.segmentation.intensities import intensities, of_structures, to_words

CT, T1 = Channel("CT", "CT", "ct"), Channel("T1", "MR", "zscore")
LIVER, SPLEEN, TUMOUR = (
    Label(n, name, (n, n, n)) for n, name in ((1, "liver"), (2, "spleen"), (300, "tumour"))
)


def phantom(values):
    """Three structures of four voxels along x; "tumour" has one voxel, "spleen" constant values."""
    labelmap = np.zeros((3, 2, 4), np.uint16)
    labelmap[0, 0] = 1
    labelmap[1, 1] = 2
    labelmap[2, 0, 0] = 300
    image = np.full((3, 2, 4), -1000.0, np.float32)
    image[0, 0], image[1, 1], image[2, 0, 0] = values
    return labelmap, image


PHANTOM = phantom(([40, 50, 60, 90], [7, 7, 7, 7], 1500))


def test_the_values_are_those_that_one_counts():
    labelmap, image = PHANTOM
    assert intensities(labelmap, image[None], [CT], [LIVER, SPLEEN, TUMOUR]) == {
        "liver mean of CT (HU)": 60.0,
        "liver SD of CT (HU)": pytest.approx(np.std([40, 50, 60, 90], ddof=1)),
        "spleen mean of CT (HU)": 7.0,
        "spleen SD of CT (HU)": 0.0,
        "tumour mean of CT (HU)": 1500.0,  # of one voxel: no deviation
    }


def test_each_channel_has_its_own_unit():
    labelmap, image = PHANTOM
    found = intensities(labelmap, np.stack([image, 10 * image]), [CT, T1], [LIVER])
    assert found["liver mean of CT (HU)"] == 60.0
    assert found["liver mean of T1 (a.u.)"] == 600.0


def test_overlapping_regions_are_all_voxels_of_their_labels():
    labelmap, image = PHANTOM
    regions = [Region("organs", (1, 2), (1, 1, 1)), Region("right", (1, 300), (1, 1, 1))]
    found = intensities(labelmap, image[None], [CT], [LIVER], regions)
    organs, right = [40, 50, 60, 90, 7, 7, 7, 7], [40, 50, 60, 90, 1500]
    for name, values in (("organs", organs), ("right", right)):
        assert found[f"{name} mean of CT (HU)"] == pytest.approx(np.mean(values))
        assert found[f"{name} SD of CT (HU)"] == pytest.approx(np.std(values, ddof=1))


def test_a_structure_that_was_not_found_has_no_values():
    labelmap, image = PHANTOM
    assert intensities(np.zeros_like(labelmap), image[None], [CT], [LIVER]) == {}


def test_large_offsets_do_not_harm_the_deviation():
    labelmap, image = PHANTOM
    far = image.astype(np.float64) + 1e7
    found = intensities(labelmap, far[None], [T1], [LIVER])
    assert found["liver SD of T1 (a.u.)"] == pytest.approx(np.std([40, 50, 60, 90], ddof=1))


def test_the_report_has_a_column_for_each(tmp_path):
    labelmap, image = PHANTOM
    words = {"intensities": to_words(intensities(labelmap, image[None], [CT], [LIVER, SPLEEN]))}
    report = Report(tmp_path / "report.csv")
    report.put(done(Case("a", (), (), "a"), "a.seg.nrrd", words, {"liver": 1.0, "spleen": 2.0}))
    report.put(done(Case("b", (), (), "b"), "b.seg.nrrd", {}, {"liver": 1.0, "spleen": 0.0}))
    with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        a, b = csv.DictReader(file)
    assert (a["liver mean of CT (HU)"], a["spleen SD of CT (HU)"], a["liver (mL)"]) == ("60", "0", "1.0000")
    assert b["liver mean of CT (HU)"] == ""
    read, _ = Report(tmp_path / "report.csv").rows()
    assert read.intensities == pytest.approx(json.loads(words["intensities"]))
    assert read.volumes_ml == {"liver": 1.0, "spleen": 2.0}


def test_only_kept_structures_are_reported():
    known = {"intensities": json.dumps({"liver mean of CT (HU)": 1, "liver cyst mean of CT (HU)": 2})}
    assert of_structures(known, ["liver"]) == {"liver mean of CT (HU)": 1.0}
    assert of_structures({}, ["liver"]) == of_structures({"intensities": "[1"}, ["liver"]) == {}


def test_a_run_measures_the_image_itself_on_the_grid_of_the_result(tmp_path):
    bundle = tiny_bundle(tmp_path / "tiny", spacing=(2.0, 2.0, 2.0))
    voxels = np.random.default_rng(0).normal(500, 200, (1, 20, 36, 24)).astype(np.float32)
    found = segment(Volume(voxels, Geometry((24, 36, 20), (1.0, 1.5, 1.0))), bundle, intensities=True)
    name = bundle.model.channels[0].name
    told = of_structures(found.provenance, list(found.volumes_ml()))
    value = int(np.bincount(found.labelmap.ravel())[1:].argmax()) + 1
    inside = voxels[0][found.labelmap == value]
    assert len(inside) > 100
    (label,) = (label for label in found.labels if label.value == value)
    unit = "HU" if bundle.model.channels[0].modality == "CT" else "a.u."
    assert told[f"{label.name} mean of {name} ({unit})"] == pytest.approx(inside.mean(), rel=1e-5)
    assert told[f"{label.name} SD of {name} ({unit})"] == pytest.approx(inside.std(ddof=1), rel=1e-5)
    assert "intensities" not in segment(Volume(voxels, found.geometry), bundle).provenance


def test_a_batch_measures_on_request_and_completes_a_finished_folder(tmp_path, capsys):
    bundle = tiny_bundle(tmp_path / "tiny")
    voxels = np.random.default_rng(0).normal(500, 200, (20, 36, 24)).astype(np.float32)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.nii.gz", voxels, Geometry((24, 36, 20), (1.0, 1.0, 1.0)))
    command = ["segment-folder", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(bundle.path)]
    command += ["--device", "cpu", "--quality", "fast"]
    assert main(command) == 0
    (plain,) = Report(tmp_path / "out" / "report.csv").rows()
    assert plain.intensities == {}
    assert main([*command, "--intensities"]) == 0
    (row,) = Report(tmp_path / "out" / "report.csv").rows()
    assert {name.split(" mean of ")[0] for name in row.intensities if " mean of " in name} == {
        name for name, ml in row.volumes_ml.items() if ml
    }
    written = (tmp_path / "out" / "a.seg.nrrd").stat().st_mtime_ns
    assert main([*command, "--intensities"]) == 0
    assert (tmp_path / "out" / "a.seg.nrrd").stat().st_mtime_ns == written  # finished now
    assert main(command) == 0
    (again,) = Report(tmp_path / "out" / "report.csv").rows()
    assert again.intensities == row.intensities
