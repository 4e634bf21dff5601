"""Models that others published, in the panel: their card, their terms, their download, the ways to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import slicer
from fixtures.downloads.http_server import Server
from fixtures.downloads.remote_zips import GLIOMA, Ranges, write_record
from fixtures.models.four_channels import NETWORK, PLANS, write_brats_record
from fixtures.models.results_folders import write_v1_folder
from fixtures.panel.driving import MODULE, choose
from fixtures.panel.model_lists import let_work
from mednext.library import store
from mednext.library.folder_locations import shipped_models_folder
from mednext.library.model_by_name import load_bundle

GLIOMA_MODEL = "brats24-glioma-l5"


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The record of the glioma model, with two tiny folds and gigabytes of holes."""
    path = write_brats_record(tmp_path_factory.mktemp("record"))
    yield path
    path.unlink()


@pytest.fixture
def ranges(record):
    return Ranges(record)


@pytest.fixture
def panel(ranges, tmp_path, monkeypatch, show_panel):
    """The panel, with a catalog whose record lies on this computer and has two folds."""
    from fixtures.downloads.http_server import serve
    from mednext.library.catalog_source import load_catalog

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    catalog = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    with Server() as server:
        for model in catalog["models"]:
            place = model.get("elsewhere")
            if place and place["archive"]:
                place["archive"] = server.answer("/record.zip", ranges)
            if model["name"] == GLIOMA_MODEL:
                place["folds"] = [0, 1]
        content = json.dumps(catalog).encode()
        monkeypatch.setenv("MEDNEXT_CATALOG_URL", server.answer("/catalog.json", serve(content)))
        monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "models"))
        load_catalog(refresh=True)
        slicer.app.userSettings().clear()
        yield show_panel(MODULE)[1]


def folds():
    return [fold.index for fold in load_bundle(GLIOMA_MODEL).model.folds]


def test_the_card_tells_images_labels_licence_citation_and_what_was_not_tested(panel):
    choose(panel, GLIOMA_MODEL)
    card = panel.ui.cardLabel.text
    for words in (
        "T1ce (MR), T1 (MR), FLAIR (MR), T2 (MR)",
        "MIT in the repository of its code",
        "10.5281/zenodo.14001262",
        "neither downloaded nor run by this project",
        "722 MiB, not installed",
        "1 FLAIR hyperintensity, 2 non-enhancing tumor core, 3 enhancing tumor, 4 resection cavity",
        "LPS",
    ):
        assert words in card
    assert "none of its labels has a side" in panel.ui.cardLabel.toolTip


def test_size_memory_and_trust_are_told_before_the_download(panel):
    choose(panel, GLIOMA_MODEL)
    assert panel.ui.downloadButton.text == "Download (722 MiB)"
    assert "import takes up to 1227 MiB of memory" in panel.ui.weightsLabel.text
    assert "SHA-256" in panel.ui.weightsLabel.text
    assert panel.ui.allFoldsBox.text == "All 2 folds (1444 MiB)"
    panel.ui.allFoldsBox.click()
    assert panel.ui.downloadButton.text == "Download (1444 MiB)"
    assert "up to 1949 MiB" in panel.ui.weightsLabel.text
    choose(panel, "brats26-metastases-l5")
    assert panel.ui.downloadButton.text == "Download"
    assert not panel.ui.allFoldsBox.visible and not panel.ui.allFoldsBox.checked


def test_the_terms_come_first(panel):
    choose(panel, GLIOMA_MODEL)
    assert "MIT in the repository" in panel.ui.termsLabel.text
    assert "Synapse" in panel.ui.termsLabel.text
    assert not panel.ui.downloadButton.enabled
    panel.ui.termsBox.click()
    assert panel.ui.downloadButton.enabled


def test_the_button_fetches_and_imports_the_model_and_chooses_it(panel):
    choose(panel, GLIOMA_MODEL)
    panel.ui.termsBox.click()
    panel.ui.allFoldsBox.click()
    panel.ui.downloadButton.click()
    let_work(panel)
    assert panel.ui.weightsErrorLabel.text == ""
    assert "was installed" in panel.ui.weightsStatusLabel.text
    assert panel.panel.parameters.choice == GLIOMA_MODEL
    assert folds() == [0, 1]
    assert [channel.name for channel in panel.panel.choice.model.channels] == ["T1ce", "T1", "FLAIR", "T2"]
    assert "not measured" in panel.ui.cardLabel.text
    assert "neither downloaded nor run by this project" in panel.ui.cardLabel.text
    assert not panel.ui.weightsGroup.visible


def test_a_cancelled_download_is_resumed(panel, ranges):
    choose(panel, GLIOMA_MODEL)
    panel.ui.termsBox.click()
    biggest = [0]

    def stall(_number, body):
        is_after = biggest[0] > 100_000
        biggest[0] = max(biggest[0], len(body))
        return b"" if is_after else body[:140_000]

    ranges.change = stall
    panel.ui.downloadButton.click()
    folder = Path(store.models_folder())
    let_work(panel, lambda: any(path.stat().st_size > 10_000 for path in folder.rglob("*.part")))
    panel.ui.weightsCancelButton.click()
    let_work(panel)
    assert "The next download resumes this one" in panel.ui.weightsStatusLabel.text
    ranges.change = lambda _number, body: body
    panel.ui.downloadButton.click()
    let_work(panel)
    assert "was installed" in panel.ui.weightsStatusLabel.text
    assert folds() == [0]


def test_a_changed_file_is_refused_with_both_digests(panel, ranges, record, tmp_path, here):
    choose(panel, GLIOMA_MODEL)
    panel.ui.termsBox.click()
    panel.ui.downloadButton.click()
    let_work(panel)
    store.remove(GLIOMA_MODEL)
    other = tmp_path / "other"
    write_v1_folder(other, (2,), NETWORK, "nnUNetTrainerV2_MedNeXt_L_kernel5", **PLANS)
    (other / "fold_2").rename(other / "fold_0")
    for suffix in ("", ".pkl"):
        file = other / "fold_0" / f"model_final_checkpoint.model{suffix}"
        file.rename(file.with_name(f"model_best.model{suffix}"))
    write_record(tmp_path / "newer.zip", {GLIOMA: other})
    ranges.path, ranges.etag = tmp_path / "newer.zip", '"v2"'
    panel.enter()
    choose(panel, GLIOMA_MODEL)
    panel.ui.downloadButton.click()
    let_work(panel)
    assert "has changed since its first use" in panel.ui.weightsErrorLabel.text
    assert GLIOMA_MODEL not in store.installed_names()


def test_brats21_leads_to_the_models_of_others(panel):
    choose(panel, "BraTS21")
    assert "No MedNeXt weights for this task are public" in panel.ui.weightsLabel.text
    assert GLIOMA_MODEL in panel.ui.seeLabel.text and panel.ui.seeLabel.visible
    assert panel.ui.importOtherButton.visible
    panel.ui.seeLabel.linkActivated.emit("brats23-glioma-b")
    assert panel.panel.parameters.choice == "brats23-glioma-b"
    assert not panel.ui.seeLabel.visible
    assert panel.ui.downloadButton.visible


@pytest.mark.parametrize("name", ["BTCV", "AMOS22", "KiTS19"])
def test_a_task_without_public_weights_offers_import_training_and_other_extensions(panel, name):
    choose(panel, name)
    told = panel.ui.weightsLabel.text
    assert "public" in told and f"mednext-train reproduce {name.lower()}" in told
    assert "TotalSegmentator" in told and "Extensions Manager" in told
    assert panel.ui.importWeightsButton.visible and panel.ui.importOtherButton.visible
    assert not panel.ui.downloadButton.visible and not panel.ui.seeLabel.visible


def test_the_list_offers_the_models_of_others(panel):
    panel.ui.searchBox.setText("BraTS 2024")
    box = panel.ui.taskBox
    assert [box.itemText(row) for row in range(box.count)] == [
        "Download: Glioma after treatment (MR, BraTS 2024), MedNeXt-L, kernel 5, by A. Ferreira et al.",
        "Download: Meningioma for radiotherapy (MR, BraTS 2024), MedNeXt-L, kernel 5, by A. Ferreira et al.",
    ]
