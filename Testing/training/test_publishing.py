"""A model that cannot be installed, or lacks what its users need, is not published.

`test_reproduction.py` publishes one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.models.bundles import tiny_bundle, tiny_model
from mednext.errors import EngineProcessError, OptionError
from mednext.model.bundle import Bundle
from mednext_training.publishing import release

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).normal(100, 20, (18, 34, 34)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "image.nii.gz"))
    return tmp_path / "image.nii.gz"


def test_a_model_that_cannot_be_installed_leaves_no_catalog(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", task="hippocampus")
    wrong = SimpleNamespace(sha256=lambda _: hashlib.sha256(b"another file"))
    monkeypatch.setattr(release, "hashlib", wrong)
    with pytest.raises(EngineProcessError, match="'mednext models' failed"):
        release.publish(bundle, tmp_path / "assets", "https://example.org", [image])
    assert not (tmp_path / "assets" / "catalog.json").exists()
    assert "tiny has no measured accuracy, and users are told so" in caplog.text


def test_a_model_without_licence_task_or_image_is_not_published(tmp_path: Path, image: Path) -> None:
    def refused(bundle: Bundle, images: list[Path], why: str) -> None:
        with pytest.raises(OptionError, match=why):
            release.publish(bundle, tmp_path / "assets", "https://example.org", images)

    bundle = tiny_bundle(tmp_path / "tiny", task="hippocampus")
    refused(bundle, [image, image], "needs 1 image")
    refused(replace(bundle, model=replace(bundle.model, licence="")), [image], "no licence")
    taken = replace(bundle, model=replace(bundle.model, name="hippocampus"))
    refused(taken, [image], "comes with the program")
    refused(replace(bundle, model=tiny_model(name="tiny")), [image], "no task of")
    assert json.loads((tmp_path / "tiny" / "model.json").read_text())["task"] == "hippocampus"
