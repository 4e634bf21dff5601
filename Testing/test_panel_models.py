"""Models in the panel: searched for, downloaded over bad networks, imported, exported, removed."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
import slicer
from bundles import tiny_bundle
from http_server import Server, serve, stall_after, status
from mednext import archive, store
from mednext.resources import shipped_models_folder
from panel_driving import MODULE, PATIENCE_S, choose, segment, set_option

LICENCE = {"free": "CC BY 4.0", "restricted": "CC BY-NC-SA 4.0"}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder of the user's."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return tmp_path / "models"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The zip file of a model."""
    folder = tmp_path_factory.mktemp("packed")
    tiny_bundle(folder / "free", title="Free model", task="hippocampus")
    archive.pack(folder / "free", folder / "free.zip")
    return folder / "free.zip"


@pytest.fixture
def server(packed, monkeypatch):
    """Publishes the models "free" and "restricted"; the first answer is what each test scripts."""
    catalog = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    data = packed.read_bytes()
    with Server() as running:
        for name, task in (("free", "hippocampus"), ("restricted", "KiTS19")):
            url = running.answer(f"/{name}.zip", serve(data))
            download = {"urls": [url], "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            entry = {"name": name, "task": task, "title": "S", "version": "1.0.0", "licence": LICENCE[name]}
            catalog["models"].append({**entry, "download": download})
        monkeypatch.setenv(
            "MEDNEXT_CATALOG_URL", running.answer("/catalog.json", serve(json.dumps(catalog).encode()))
        )
        yield running


@pytest.fixture
def panel(server, models, monkeypatch, show_panel):
    """The panel, with a catalog from the server."""
    from mednext.catalog_source import load_catalog

    monkeypatch.setenv("MEDNEXT_MODELS", str(models))
    load_catalog(refresh=True)
    slicer.app.userSettings().clear()
    return show_panel(MODULE)[1]


def let_work(widget, until=lambda: False):
    """Run the event loop while the engine's command runs."""
    end = time.monotonic() + PATIENCE_S
    while widget.weightsView.command.running and not until():
        assert time.monotonic() < end
        slicer.app.processEvents()
        time.sleep(0.01)


def rows(widget):
    box = widget.ui.taskBox
    return [box.itemData(row) for row in range(box.count)]


def test_the_list_shows_what_is_searched_for_and_chooses_the_first_of_it(panel):
    everything = rows(panel)
    panel.ui.searchBox.setText("kidney TUMOR ct")
    assert rows(panel) == ["restricted"]
    assert panel._parameters.choice == "restricted"
    panel.ui.searchBox.setText("kidney")
    assert set(rows(panel)) == {"restricted", "BTCV", "AMOS22"}
    assert panel.ui.searchLabel.text == "3 of 6 match."
    panel.ui.searchBox.setText("femur")
    assert panel.ui.searchLabel.text == 'Nothing matches "femur".'
    assert rows(panel) == everything
    panel.ui.searchBox.setText("")
    assert not panel.ui.searchLabel.visible
    assert panel._parameters.choice == "restricted"


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


def test_cancelling_a_silent_download_takes_less_than_two_seconds(panel, server, packed):
    data = packed.read_bytes()
    server.answer("/free.zip", stall_after(data, 65536))
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel, until=lambda: panel.ui.weightsBar.value > 0)
    assert panel.ui.weightsBar.value == int(1000 * 65536 / len(data))
    begin = time.monotonic()
    panel.ui.weightsCancelButton.click()
    let_work(panel)
    assert time.monotonic() - begin < 2
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
