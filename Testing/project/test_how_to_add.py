"""A toy of each thing that docs/development.md says how to add, added as it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model, tiny_weights
from mednext import load_bundle, read_volume, segment, write_segmentation
from mednext.batch.case_finding import find_cases
from mednext.checkpoints import ImportOptions, import_checkpoint, importing
from mednext.checkpoints.checkpoint_format import CheckpointFormat
from mednext.checkpoints.import_report import ImportNotes
from mednext.images.formats import readable
from mednext.images.formats.image_header import ImageFormat, ImageHeader, three_axes
from mednext.images.formats.stored_voxels import RAW, StoredVoxels
from mednext.images.geometry import Geometry
from mednext.library.catalog import read_catalog
from mednext.library.folder_locations import shipped_models_folder
from mednext.model.description import Model
from mednext.network import formulation
from mednext.network.candidate import Formulation
from mednext.network.formulation import FastNetwork
from mednext.segmentation import export
from mednext.segmentation.result import Segmentation
from torch import nn

SIZE = (20, 36, 24)


# The new file of an image format: a line of JSON, then the voxels.
def toy_header(path: Path) -> ImageHeader:
    with path.open("rb") as file:
        said = json.loads(file.readline())
    i, j, k = three_axes(path, said["size"])
    geometry = Geometry.from_ijk_to_ras(np.array(said["ijk_to_ras"]), (i, j, k))
    return ImageHeader(geometry, StoredVoxels((path,), np.dtype("<f4"), (k, j, i), RAW, path, skip=None))


TOY_IMAGE = ImageFormat("Toy", (".toy",), toy_header)


@pytest.fixture
def toy_image(tmp_path: Path) -> Path:
    header = {"size": SIZE, "ijk_to_ras": np.diag([1.0, 1.5, 2.0, 1.0]).tolist()}
    voxels = np.random.default_rng(0).normal(size=SIZE[::-1]).astype("<f4")
    file = tmp_path / "images" / "head.toy"
    file.parent.mkdir()
    file.write_bytes(json.dumps(header).encode() + b"\n" + voxels.tobytes())
    return file


def test_an_image_format(toy_image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readable, "FORMATS", (*readable.FORMATS, TOY_IMAGE))
    volume = read_volume(toy_image)
    assert volume.array.shape == (1, *SIZE[::-1])
    assert volume.geometry.spacing == (1.0, 1.5, 2.0)
    assert [case.name for case in find_cases(toy_image.parent, tiny_model()).cases] == ["head"]


# The new file of a checkpoint format: whatever ends with `.toy` is a state dict of our own network.
def read_toy_checkpoint(
    path: Path, name: str, _options: ImportOptions, _notes: ImportNotes
) -> tuple[Model, dict[int, dict[str, torch.Tensor]]]:
    return tiny_model(name=name), {0: torch.load(path, weights_only=True)}


TOY_CHECKPOINT = CheckpointFormat("Toy", lambda source: source.suffix == ".toy", read_toy_checkpoint)


def test_a_checkpoint_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "FORMATS", (TOY_CHECKPOINT, *importing.FORMATS))
    torch.save(tiny_weights(), tmp_path / "weights.toy")
    import_checkpoint(tmp_path / "weights.toy", tmp_path / "imported", ImportOptions())
    assert load_bundle(str(tmp_path / "imported")).model.task == "test"


# The new file of a formulation: the plain network, wrapped.
class Wrapped(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


def offer_toy(network: nn.Module, device: torch.device, _precision: str) -> list[Formulation]:
    return [Formulation("toy", lambda: Wrapped(network))] if device.type == "cpu" else []


def test_a_formulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulation, "OFFERS", (offer_toy, *formulation.OFFERS))
    monkeypatch.setattr(formulation, "is_faster", lambda *_: True)
    plain = TINY_NETWORK.build().eval()
    fast, tile = FastNetwork(plain), torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(fast(tile), plain(tile), atol=1e-5)
    assert fast.formulation == "toy"


# The new file of a format of results.
def write_toy(path: Path, segmentation: Segmentation, _source: export.Source | None) -> None:
    path.write_text(json.dumps(segmentation.volumes_ml()), encoding="utf-8")


TOY_RESULTS = export.ResultFormat("Toy volumes", (".json",), write_toy)


def test_a_format_of_results(toy_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readable, "FORMATS", (*readable.FORMATS, TOY_IMAGE))
    monkeypatch.setitem(export.FORMATS, "toy", TOY_RESULTS)
    found = segment(read_volume(toy_image), tiny_bundle(tmp_path / "tiny"), device="cpu", mirroring=False)
    write_segmentation(tmp_path / "volumes.json", found)
    assert set(json.loads((tmp_path / "volumes.json").read_text())) == {"spleen", "liver"}


def test_a_task(tmp_path: Path) -> None:
    content = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    label = {"value": 1, "name": "toy", "color": [200, 100, 50]}
    content["tasks"].append({**content["tasks"][0], "name": "Toy", "title": "Toy", "labels": [label]})
    (tmp_path / "catalog.json").write_text(json.dumps(content), encoding="utf-8")
    task = read_catalog(tmp_path / "catalog.json").task("Toy")
    assert task is not None
    assert [each.name for each in task.labels] == ["toy"]
