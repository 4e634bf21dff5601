"""One image gives the same voxels, places, names and codes in every way to segment it.

The command on this computer, on a server, and as a batch on either; written as .seg.nrrd and as DICOM SEG,
and compared by the programs of others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.images.dicom_files import write_series
from fixtures.images.sides_phantom import LABELS, OBLIQUE, phantom
from fixtures.models.bundles import tiny_bundle
from fixtures.models.channels import CT
from mednext.cli import main as mednext
from mednext.network import formulation

highdicom = pytest.importorskip("highdicom", reason="the package highdicom is not installed")
pytest.importorskip("uvicorn", reason="the server's packages are not installed")

EVERY = os.environ.get("MEDNEXT_ALL_ORIENTATIONS") == "1"
SIDES = (LABELS[0], LABELS[1])  # with codes of their sides


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """The words of each way, without images and results."""
    from fixtures.servers.mednext_server import running_server

    monkeypatch.setattr(formulation, "OFFERS", ())  # a process chooses by the time that each takes
    bundle = tiny_bundle(tmp_path / "tiny", labels=SIDES, channels=(CT,), spacing=(4.0, 2.0, 1.5))
    with running_server(tmp_path, [bundle]) as server:
        access = server.access()
        (tmp_path / "key").write_text(access.key)
        run = ["--model", str(bundle.path), "--no-mirror", "--quiet", "--insist"]
        yield {
            "here": [*run, "--device", "cpu"],
            "server": [*run, "--server", access.address, "--server-key", str(tmp_path / "key")],
        }


def by_sitk(path: Path) -> dict[str, Any]:
    """Voxels, grid, names, values and codes of a .seg.nrrd."""
    image = sitk.ReadImage(str(path))
    keys = [key for key in image.GetMetaDataKeys() if key.startswith("Segment") and "Extent" not in key]
    facts = {key: image.GetMetaData(key) for key in keys if key.partition("_")[2] in KEPT}
    assert {"left kidney", "right kidney"} <= set(facts.values())
    return {
        "voxels": sitk.GetArrayFromImage(image).tobytes(),
        "grid": (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()),
        "segments": facts,
    }


KEPT = ("Name", "LabelValue", "Layer", "Color", "Tags")


def by_highdicom(path: Path) -> dict[str, Any]:
    """Voxels, grid, names and codes of a DICOM SEG."""
    stored = highdicom.seg.segread(path)
    volume = stored.get_volume(combine_segments=False)
    described = [stored.get_segment_description(number).to_json_dict() for number in stored.segment_numbers]
    for each in described:  # an identity of the object
        each.pop("00620021", None)
    return {
        "voxels": volume.array.tobytes(),
        "grid": volume.affine.tolist(),
        "segments": described,
        "frame": stored.FrameOfReferenceUID,
    }


@pytest.mark.parametrize("orientation", ["LPS", "ASL"] if EVERY else ["ASL"])
def test_every_way_gives_the_same_result(orientation, ways, tmp_path):
    array, geometry = phantom(orientation, OBLIQUE)
    noise = np.random.default_rng(1).normal(0, 60, array.shape).astype(np.int16)
    write_series(tmp_path / "in" / "series", array + noise, geometry)
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for name, words in ways.items():
        out = tmp_path / f"out {name}"
        out.mkdir()
        for file in ("a.seg.nrrd", "a.dcm"):
            code = mednext(["segment", str(tmp_path / "in" / "series"), *words, "-o", str(out / file)])
            assert code == 0
        found[name] = by_sitk(out / "a.seg.nrrd"), by_highdicom(out / "a.dcm")
        batch = out / "batch"
        assert mednext(["segment-folder", str(tmp_path / "in"), str(batch), *words, "--dicom-seg"]) == 0
        (seg,), (dicom,) = batch.rglob("*.seg.nrrd"), batch.rglob("*.dcm")
        found[f"batch, {name}"] = by_sitk(seg), by_highdicom(dicom)
    right = found.pop("here")
    for name, other in found.items():
        for mine, theirs in zip(right, other, strict=True):
            for fact, value in mine.items():
                assert theirs[fact] == value, f"{name}: {fact}"
