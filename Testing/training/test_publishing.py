"""A model is published only once it was installed from a server and segments as it did before."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from bundles import tiny_bundle, tiny_model
from mednext.errors import EngineProcessError, OptionError
from mednext.library.catalog import read_catalog
from mednext.model.bundle import Bundle
from mednext_training import release

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).normal(100, 20, (18, 34, 34)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "image.nii.gz"))
    return tmp_path / "image.nii.gz"


def test_the_zip_and_the_entry_are_written_after_the_model_was_tried(tmp_path: Path, image: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", task="hippocampus")
    catalog = release.publish(bundle, tmp_path / "assets", "https://example.org/v1/", [image])
    published = read_catalog(catalog).model("tiny")
    assert published is not None and published.download is not None
    assert published.download.urls == ("https://example.org/v1/tiny-1.0.0.zip",)
    assert (tmp_path / "assets" / "tiny-1.0.0.zip").stat().st_size == published.download.bytes
    assert read_catalog(catalog).model("hippocampus") is not None
    assert sorted(path.name for path in (tmp_path / "assets").iterdir()) == ["catalog.json", "tiny-1.0.0.zip"]


def test_a_model_that_cannot_be_installed_leaves_no_catalog(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", task="hippocampus")
    wrong = SimpleNamespace(sha256=lambda _: hashlib.sha256(b"another file"))
    monkeypatch.setattr(release, "hashlib", wrong)
    with pytest.raises(EngineProcessError, match="'mednext models' failed"):
        release.publish(bundle, tmp_path / "assets", "https://example.org", [image])
    assert not (tmp_path / "assets" / "catalog.json").exists()


def test_a_model_without_licence_task_or_image_is_not_published(tmp_path: Path, image: Path) -> None:
    def refused(bundle: Bundle, images: list[Path], why: str) -> None:
        with pytest.raises(OptionError, match=why):
            release.publish(bundle, tmp_path / "assets", "https://example.org", images)

    bundle = tiny_bundle(tmp_path / "tiny", task="hippocampus")
    refused(bundle, [image, image], "needs 1 image")
    refused(replace(bundle, model=replace(bundle.model, licence="")), [image], "no licence")
    refused(replace(bundle, model=tiny_model(name="tiny")), [image], "no task of")
    assert json.loads((tmp_path / "tiny" / "model.json").read_text())["task"] == "hippocampus"
