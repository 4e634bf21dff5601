"""The doubts about images reach the users of the command line, of batches and of the engine."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fixtures.batch.cases import add_image, noise
from fixtures.images.dicom_files import write_series
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model
from fixtures.models.channels import CHEST, CT, FLAIR, GRID, T1
from fixtures.worker.dialogue import environment
from mednext import read_channels, read_volume, segment
from mednext.cli import main
from mednext.errors import SuspectInputError
from mednext.images.description.image_description import ImageDescription
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inputs.input_doubts import InputImage, check_inputs
from mednext.inputs.voxel_sample import sample_of


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "thorax", channels=(CT,))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    network = replace(TINY_NETWORK, in_channels=2)
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "two", network=network, channels=(T1, FLAIR))


Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`mednext segment --json`: exit code and document."""

    def run_it(bundle: Any, *arguments: object) -> tuple[int, dict[str, Any]]:
        output = ["--output", tmp_path / "out.nii.gz", "--overwrite", "--json", "--device", "cpu"]
        code = main(["segment", *map(str, [*arguments, "--model", bundle.path, *output, "--threads", 1])])
        return code, json.loads(capsys.readouterr().out)

    return run_it


def test_values_that_are_not_hounsfield_units_are_warned_of_on_the_command_line(run, ct, tmp_path):
    image = add_image(tmp_path / "scan.nii.gz", voxels=(CHEST + 1024).astype(np.float32))
    code, document = run(ct, image)
    assert code == 0
    assert "Subtract the offset, usually 1024" in document["warning"]
    assert document["warning"] == document["provenance"]["warning"]


def test_warnings_go_to_standard_error(ct, tmp_path):
    image = add_image(tmp_path / "scan.nii.gz", voxels=(CHEST + 1024).astype(np.int16))
    output = ["--output", str(tmp_path / "out.nii.gz"), "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "mednext", "segment", str(image), "--model", str(ct.path), *output]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert "Subtract the offset" in done.stderr and json.loads(done.stdout)["ok"]


def test_a_ct_that_fits_gives_no_warning(run, ct, tmp_path):
    code, document = run(ct, add_image(tmp_path / "p01_t2.nii.gz", voxels=CHEST.astype(np.int16)))
    assert code == 0  # its name may mean the second examination
    assert document["warning"] == '"p01_t2.nii.gz" seems to be T2, not CT: check the choice.'
    code, document = run(ct, add_image(tmp_path / "pt_001.nii.gz", voxels=CHEST.astype(np.int16)))
    assert (code, document["warning"]) == (0, "")


def test_an_mr_by_its_name_and_its_values_is_refused_for_a_model_of_ct(run, ct, tmp_path):
    image = add_image(tmp_path / "t1ce.nii.gz")
    code, document = run(ct, image)
    assert (code, document["error"]) == (2, "SuspectInputError")
    assert "insist (--insist, insist=True)" in document["message"]
    assert not (tmp_path / "out.nii.gz").exists()
    code, document = run(ct, image, "--insist")
    assert code == 0
    assert '"t1ce.nii.gz" seems to be T1 with contrast agent, not CT' in document["warning"]


def test_files_in_another_order_are_refused_on_the_command_line_before_anything_is_computed(
    run, two, tmp_path
):
    t1, flair = add_image(tmp_path / "t1.nii.gz"), add_image(tmp_path / "flair.nii.gz", 1)
    code, document = run(two, flair, t1)
    assert (code, document["error"]) == (2, "SuspectInputError")
    assert '"flair.nii.gz" seems to be FLAIR, not T1' in document["message"]
    assert "The model takes T1, FLAIR, in this order." in document["message"]
    code, document = run(two, t1, flair)
    assert (code, document["warning"]) == (0, "")


def same(tmp_path: Path, how: str) -> tuple[Path, Path]:
    """Two names of one image."""
    image = add_image(tmp_path / "t1.nii.gz")
    other = tmp_path / "flair.nii.gz"
    if how == "path":
        return image, tmp_path / "." / "t1.nii.gz"
    if how == "hard link":
        os.link(image, other)
    elif how == "symbolic link":
        other.symlink_to(image)
    elif how == "other format":
        other = add_image(tmp_path / "flair.nrrd")
    elif how == "other orientation":
        other = tmp_path / "flair.nrrd"
        axes = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
        grid = Geometry(GRID.size, GRID.spacing, (-10.0 + 21, -12.0 + 19, 5.0), axes)
        from mednext.images.volume import write_image

        write_image(other, np.ascontiguousarray(noise()[:, ::-1, ::-1]), grid)
    else:
        other.write_bytes(image.read_bytes())
    return image, other


@pytest.mark.parametrize(
    "how", ["path", "hard link", "symbolic link", "copy", "other format", "other orientation"]
)
def test_one_image_for_two_channels_is_refused(run, two, tmp_path, how):
    pair = same(tmp_path, how)
    code, document = run(two, *pair)
    assert (code, document["error"]) == (2, "SuspectInputError")
    assert "are one file" in document["message"] or "have the same voxels" in document["message"]


def test_one_image_for_two_channels_is_taken_when_the_user_insists(run, two, tmp_path):
    code, document = run(two, *same(tmp_path, "copy"), "--insist")
    assert code == 0 and "have the same voxels" in document["warning"]


def write_mr(folder: Path, description: str, patient: str, seed: int, study_uid: str | None = None) -> Path:
    write_series(folder, noise(seed).round(), GRID, description=description, study_uid=study_uid)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.Modality, dataset.PatientID = "MR", patient
        dataset.save_as(file)
    return folder


def test_the_header_of_dicom_is_checked_on_the_command_line(run, two, tmp_path):
    t1 = write_mr(tmp_path / "1", "t1_mprage", "4711", 0)
    flair = write_mr(tmp_path / "2", "flair", "4711", 1)
    code, document = run(two, t1, flair)
    assert code == 0 and "different studies" in document["warning"]
    code, document = run(two, flair, t1)
    assert code == 2 and '"2" seems to be FLAIR, not T1' in document["message"]
    code, document = run(two, t1, write_mr(tmp_path / "3", "flair", "4712", 1))
    assert code == 2 and "different patients" in document["message"]


def test_images_of_other_places_are_refused_and_tilted_ones_warned_of(two, tmp_path):
    model = tiny_model(channels=(T1, FLAIR))
    turned = Geometry(GRID.size, GRID.spacing, GRID.origin, (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    inputs = [
        InputImage(ImageDescription("t1"), GRID, sample_of(noise())),
        InputImage(ImageDescription("flair"), turned, sample_of(noise(1))),
    ]
    assert (
        '"flair" is tilted by 37° against "t1": are they registered?' in check_inputs(model, inputs).warnings
    )
    away = replace(GRID, origin=(500.0, 0.0, 0.0))
    with pytest.raises(Exception, match="covers 0%"):
        segment([Volume(noise()[None], GRID), Volume(noise(1)[None], away)], two, device="cpu", threads=1)


def test_the_engine_checks_volumes_of_one_and_of_several_channels_alike(two, tmp_path):
    t1, flair = add_image(tmp_path / "t1.nii.gz"), add_image(tmp_path / "flair.nii.gz", 1)
    with pytest.raises(SuspectInputError, match="in this order"):
        segment(read_channels([flair, t1]), two, device="cpu", threads=1)
    with pytest.raises(SuspectInputError, match="in this order"):
        segment([read_volume(flair), read_volume(t1)], two, device="cpu", threads=1)
    assert segment(read_channels([flair, t1]), two, device="cpu", threads=1, insist=True).provenance[
        "warning"
    ]


def test_a_batch_reports_the_doubts_to_people_and_programs_also_if_a_case_failed(ct, tmp_path, capsys):
    add_image(tmp_path / "in" / "a.nii.gz", voxels=(CHEST + 1024).astype(np.int16))
    add_image(tmp_path / "in" / "flair.nii.gz")
    places = [str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(ct.path)]
    arguments = ["segment-folder", *places, "--device", "cpu", "--threads", "1"]
    assert main([*arguments, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["error"]) == (False, "IncompleteBatchError")
    done, failed = document["cases"]
    assert "Subtract the offset" in done["warning"] and "not CT" in failed["message"]
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert rows["a"]["status"] == "done" and "Subtract the offset" in rows["a"]["warning"]
    assert rows["flair"]["error"] == "SuspectInputError"
    assert main([*arguments, "--insist"]) == 0


def test_a_batch_checks_the_headers_of_dicom(two, tmp_path):
    for number, kind in enumerate(("t1_mprage", "flair")):
        write_mr(tmp_path / "in" / kind, kind, "4711", number, study_uid="1.2.3.4")
    arguments = ["segment-folder", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(two.path)]
    assert main([*arguments, "--device", "cpu", "--threads", "1"]) == 0
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert "different frames of reference" in row["warning"]
