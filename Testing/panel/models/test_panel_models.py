"""The list of models in the panel: searched, chosen from, and downloaded over bad networks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import slicer_standin
from fixtures.downloads.http_server import serve, stall_after, status
from fixtures.models.bundles import tiny_bundle
from fixtures.panel.driving import MODULE, choose, segment, set_option
from fixtures.panel.model_lists import drop, let_work, rows
from mednext.library import store
from mednext.library.folder_locations import shipped_models_folder

MODELS_OF_OTHERS = {
    "brats23-glioma-b",
    "brats24-glioma-l5",
    "brats24-meningioma-l5",
    "brats26-metastases-l5",
}


def test_the_list_shows_the_rows_searched_for_and_chooses_the_first(panel):
    everything = rows(panel)
    panel.ui.searchBox.setText("kidney TUMOR ct")
    assert rows(panel) == ["restricted"]
    assert panel.panel.parameters.choice == "restricted"
    panel.ui.searchBox.setText("kidney")
    assert set(rows(panel)) == {"restricted", "BTCV", "AMOS22"}
    assert panel.ui.searchLabel.text == "3 of 10 match."
    panel.ui.searchBox.setText("tumour")  # as in "kidney tumours" and in "enhancing tumor"
    assert set(rows(panel)) == {"restricted", "BraTS21", *MODELS_OF_OTHERS}
    panel.ui.searchBox.setText("femur")
    assert panel.ui.searchLabel.text == 'Nothing matches "femur".'
    assert rows(panel) == everything
    panel.ui.searchBox.setText("")
    assert not panel.ui.searchLabel.visible
    assert panel.panel.parameters.choice == "restricted"


def test_a_long_list_of_structures_is_counted_and_told_in_full_in_the_tooltip(panel):
    choose(panel, "BTCV")
    assert "13 structures: spleen, right kidney, left kidney and 10 more" in panel.ui.cardLabel.text
    assert "left adrenal gland" in panel.ui.cardLabel.toolTip


@pytest.mark.parametrize("name", ["hippocampus", "free", "BTCV", "AMOS22", "restricted", "BraTS21"])
def test_every_task_has_a_picture_of_its_own(panel, name):
    choose(panel, "BTCV" if name != "BTCV" else "AMOS22")
    before = panel.ui.pictureLabel.pixmap.toImage()
    choose(panel, name)
    assert panel.ui.pictureLabel.pixmap.toImage() != before


def test_a_download_installs_the_model_chooses_it_and_it_segments(panel, volume, models):
    choose(panel, "free")
    assert not panel.ui.segmentButton.enabled
    assert "weights are missing" in panel.ui.problemLabel.text
    panel.ui.downloadButton.click()
    let_work(panel)
    assert store.find_model("free") == models / "free"
    assert "Free model, version 1.0.0, was installed." in panel.ui.weightsStatusLabel.text
    assert not panel.ui.weightsGroup.visible
    assert panel.ui.taskBox.currentData == "free"
    set_option(panel.ui.deviceBox, "cpu")
    assert segment(panel).GetSegmentation().GetNumberOfSegments() == 2


def test_a_download_that_breaks_off_is_gone_on_with(panel, server, packed):
    data = packed.read_bytes()
    most = 2 * 65536
    assert 0.75 < most / len(data) < 0.85
    url = "/free.zip"
    server.answer(url, serve(data, hang_up_after=most), status(404))
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel)
    error = panel.ui.weightsErrorLabel.text
    assert server.address + url in error
    assert str(store.models_folder()) in error
    assert panel.ui.downloadButton.text == "Resume download"
    server.answer(url, serve(data))
    panel.ui.downloadButton.click()
    let_work(panel)
    assert server.requests[-1].headers["Range"] == f"bytes={most}-"
    assert "free" in store.installed_names()
    assert not panel.ui.weightsErrorLabel.visible


def test_a_silent_download_lets_no_other_begin_and_can_be_cancelled(panel, server, packed):
    data = packed.read_bytes()
    server.answer("/free.zip", stall_after(data, 65536))
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel, until=lambda: panel.ui.weightsBar.value > 0)
    assert panel.ui.weightsBar.value == int(1000 * 65536 / len(data))
    assert drop(panel, packed)
    assert "Downloading" in panel.ui.weightsLabel.text
    assert f"import {packed} again" in panel.ui.weightsStatusLabel.text
    panel.ui.weightsCancelButton.click()
    let_work(panel)
    assert "Cancelled" in panel.ui.weightsStatusLabel.text
    assert panel.ui.downloadButton.text == "Resume download"


def test_a_file_that_is_not_the_promised_one_is_refused(panel, server, packed, models):
    server.answer("/free.zip", serve(bytes(len(packed.read_bytes()))))
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel)
    assert "SHA-256" in panel.ui.weightsErrorLabel.text
    assert "free" not in store.installed_names()
    assert not list((models / ".downloads").iterdir())


def test_terms_are_accepted_before_the_first_download_and_only_then(panel, server):
    choose(panel, "restricted")
    ui = panel.ui
    assert "CC BY-NC-SA 4.0" in ui.termsLabel.text
    assert not ui.downloadButton.enabled
    ui.termsBox.click()
    server.answer("/restricted.zip", status(404))
    ui.downloadButton.click()
    let_work(panel)
    choose(panel, "free")
    assert not ui.termsWidget.visible
    choose(panel, "restricted")
    assert not ui.termsWidget.visible
    assert ui.downloadButton.enabled
    from MedNeXtSegmentationLib.panel.models import terms_of_use

    choice = panel.panel.choice
    changed = replace(choice, published=replace(choice.published, licence="CC BY-NC-ND 4.0"))
    assert terms_of_use.areAccepted(choice) and not terms_of_use.areAccepted(changed)


def test_the_list_of_published_models_is_read_again(panel, server):
    catalog = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    server.answer("/catalog.json", serve(json.dumps(catalog).encode()))
    assert "free" in rows(panel)
    panel.ui.refreshButton.click()
    let_work(panel)
    assert "free" not in rows(panel)
    assert panel.ui.modelsStatusLabel.text == "Published models: 5."


def test_a_task_that_was_chosen_without_weights_shows_the_model_that_it_got(panel):
    choose(panel, "AMOS22")
    tiny_bundle(store.models_folder() / "ours", task="AMOS22", title="Our own")
    panel.enter()
    assert panel.ui.taskBox.currentData == "ours"
    assert "Random weights" in panel.ui.cardLabel.text


def test_work_under_way_ends_with_the_panel(panel, server, packed):
    server.answer("/free.zip", stall_after(packed.read_bytes(), 65536))
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel, until=lambda: len(server.requests) > 2)
    command = panel.panel.weightsView.command
    slicer_standin.close_module(MODULE.stem)
    assert not command.running
