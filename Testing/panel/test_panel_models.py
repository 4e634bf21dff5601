"""Models in the panel: searched for, downloaded over bad networks, imported, exported, removed."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
import slicer
import slicer_standin
import torch
from bundles import tiny_bundle, tiny_weights
from http_server import Server, serve, stall_after, status
from mednext.library import archive, store
from mednext.library.folder_locations import shipped_models_folder
from panel_driving import MODULE, PATIENCE_S, choose, segment, set_option
from results_folders import write_v1_folder, write_v2_folder

MODELS_OF_OTHERS = {
    "brats23-glioma-b",
    "brats24-glioma-l5",
    "brats24-meningioma-l5",
    "brats26-metastases-l5",
}
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
    """Publishes the models "free" and "restricted"; each test scripts the first answer."""
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
    from mednext.library.catalog_source import load_catalog

    monkeypatch.setenv("MEDNEXT_MODELS", str(models))
    load_catalog(refresh=True)
    slicer.app.userSettings().clear()
    return show_panel(MODULE)[1]


def let_work(widget, until=lambda: False):
    """Run the event loop while the engine's command runs."""
    end = time.monotonic() + PATIENCE_S
    while (
        widget.panel.weightsView.command.running or widget.panel.modelsView.command.running
    ) and not until():
        assert time.monotonic() < end
        slicer.app.processEvents()
        slicer_standin.rest(0.01)


def rows(widget):
    box = widget.ui.taskBox
    return [box.itemData(row) for row in range(box.count)]


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


def test_a_silent_download_can_be_cancelled(panel, server, packed):
    data = packed.read_bytes()
    server.answer("/free.zip", stall_after(data, 65536))
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel, until=lambda: panel.ui.weightsBar.value > 0)
    assert panel.ui.weightsBar.value == int(1000 * 65536 / len(data))
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


@pytest.fixture
def installed(panel, packed):
    """The model "free" is installed, and its row chosen in the opened section."""
    store.install_from_zip(packed)
    panel.enter()
    panel.ui.modelsButton.collapsed = False
    assert names(panel) == ["hippocampus", "free"]
    panel.ui.modelsTable.selectRow(1)
    return panel


def names(widget):
    table = widget.ui.modelsTable
    return [table.item(row, 0).text() for row in range(table.rowCount)]


def drop(widget, *paths):
    """Drag files over the panel and drop them; whether they were taken."""
    import qt

    mime = qt.QMimeData()
    mime.setUrls([qt.QUrl.fromLocalFile(str(path)) for path in paths])
    target = slicer.util.findChild(widget.parent, "MedNeXtSegmentation")
    arguments = (qt.Qt.CopyAction, mime, qt.Qt.LeftButton, qt.Qt.NoModifier)
    enter = qt.QDragEnterEvent(qt.QPoint(5, 5), *arguments)
    enter.ignore()
    qt.QApplication.sendEvent(target, enter)
    if enter.isAccepted():
        qt.QApplication.sendEvent(target, qt.QDropEvent(qt.QPointF(5, 5), *arguments))
        slicer.app.processEvents()
    return enter.isAccepted()


def test_a_zip_file_is_imported_without_the_network(panel, packed, dialogs, server):
    choose(panel, "free")
    dialogs.answer(str(packed))
    panel.ui.importWeightsButton.click()
    let_work(panel)
    assert panel.ui.taskBox.currentData == "free"
    assert not panel.ui.weightsGroup.visible
    assert [request.path for request in server.requests] == ["/catalog.json"]


def test_a_zip_file_that_is_dropped_onto_the_panel_is_imported(panel, packed):
    assert drop(panel, packed)
    let_work(panel)
    assert panel.ui.taskBox.currentData == "free"


def test_dropped_files_that_are_no_models_are_left_to_slicer(panel, packed, tmp_path):
    assert not drop(panel, tmp_path / "scan.nrrd")
    assert not drop(panel, tmp_path)
    assert not drop(panel, packed, packed)


def test_a_model_that_is_there_is_replaced_only_when_the_user_says_so(installed, packed, dialogs):
    import qt

    for answer, message in ((qt.QMessageBox.No, "installed already"), (qt.QMessageBox.Yes, "")):
        dialogs.answer(str(packed))
        dialogs.answer(answer)
        installed.ui.importFileButton.click()
        let_work(installed)
        assert message in installed.ui.modelsErrorLabel.text
    assert "was installed" in installed.ui.modelsStatusLabel.text


def test_a_damaged_zip_file_is_a_sentence_and_changes_nothing(panel, dialogs, tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK holiday")
    dialogs.answer(str(tmp_path / "bad.zip"))
    panel.ui.importFileButton.click()
    let_work(panel)
    assert "bad.zip is not a zip file" in panel.ui.modelsErrorLabel.text
    assert names(panel) == ["hippocampus"]


def test_a_model_moves_to_another_computer_by_export_and_import(installed, dialogs, tmp_path):
    import qt

    dialogs.answer(str(tmp_path / "for the others"))
    installed.ui.exportModelButton.click()
    let_work(installed)
    exported = tmp_path / "for the others.zip"
    assert str(exported) in installed.ui.modelsStatusLabel.text
    dialogs.answer(qt.QMessageBox.Yes)
    installed.ui.removeModelButton.click()
    let_work(installed)
    assert names(installed) == ["hippocampus"]
    dialogs.answer(str(exported))
    installed.ui.importFileButton.click()
    let_work(installed)
    assert names(installed) == ["hippocampus", "free"]


def test_removing_asks_first_and_spares_the_model_that_came_with_the_extension(installed, dialogs):
    import qt

    dialogs.answer(qt.QMessageBox.No)
    installed.ui.removeModelButton.click()
    assert not installed.panel.modelsView.command.running
    installed.ui.modelsTable.selectRow(0)
    assert not installed.ui.removeModelButton.enabled
    assert "comes with the extension" in installed.ui.removeModelButton.toolTip
    assert installed.ui.exportModelButton.enabled


def test_the_chosen_model_that_is_removed_is_missing_in_the_panel(installed, dialogs):
    import qt

    choose(installed, "free")
    dialogs.answer(qt.QMessageBox.Yes)
    installed.ui.removeModelButton.click()
    let_work(installed)
    assert not installed.ui.segmentButton.enabled
    assert "weights are missing" in installed.ui.problemLabel.text
    assert installed.ui.downloadButton.visible


def test_the_folder_of_a_model_is_imported(panel, packed, dialogs):
    dialogs.answer(str(packed.parent / "free"))
    panel.ui.importFolderButton.click()
    let_work(panel)
    assert names(panel) == ["hippocampus", "free"]


def understood(ui):
    """The table of all that was understood of a checkpoint."""
    table = ui.checkpointTable
    return {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}


def test_a_results_folder_of_nnunet_becomes_a_model(panel, dialogs, tmp_path):
    ui = panel.ui
    folder = tmp_path / "Dataset007 my liver"
    write_v2_folder(folder)
    dialogs.answer(str(folder))
    choose(panel, "BraTS21")
    ui.importOtherButton.click()
    assert not ui.modelsButton.collapsed
    assert ui.checkpointTaskBox.currentData == "BraTS21"
    assert ui.checkpointNameEdit.text == "Dataset007-my-liver"
    ui.checkpointTaskBox.setCurrentIndex(ui.checkpointTaskBox.findData(""))
    let_work(panel)
    assert "Give the orientation" in ui.checkpointRemarksLabel.text
    assert understood(ui)["Orientation"] == "? (not known yet)"
    assert not ui.importCheckpointButton.enabled
    set_option(ui.checkpointOrientationBox, "RAS")
    let_work(panel)
    assert understood(ui)["Orientation"] == "RAS (given)"
    assert understood(ui)["Structures"] == "1 spleen, 2 left_lung (dataset.json)"
    ui.importCheckpointButton.click()
    let_work(panel)
    assert ui.modelsErrorLabel.text == ""
    assert not ui.checkpointGroup.visible
    assert panel.panel.choice.model.orientation == "RAS"
    assert panel.panel.choice.name == "Dataset007-my-liver"


def test_the_form_asks_along_which_axes_an_unknown_training_mirrored(panel, dialogs, tmp_path):
    ui = panel.ui
    write_v1_folder(tmp_path / "v1", trainer="OurTrainer")
    dialogs.answer(str(tmp_path / "v1"))
    ui.importOtherButton.click()
    ui.checkpointTaskBox.setCurrentIndex(ui.checkpointTaskBox.findData(""))
    ui.checkpointLabelsEdit.text = "1=left lung,2=right lung"
    set_option(ui.checkpointOrientationBox, "RAS")
    let_work(panel)
    assert "'OurTrainer' is not known" in ui.checkpointRemarksLabel.text
    assert not ui.importCheckpointButton.enabled
    set_option(ui.checkpointMirrorBox, "Along the axes 0, 1")
    let_work(panel)
    ui.importCheckpointButton.click()
    let_work(panel)
    assert ui.modelsErrorLabel.text == ""
    assert panel.panel.choice.model.mirror_axes == (0, 1)


def test_of_several_networks_in_a_file_the_form_lets_choose(panel, dialogs, tmp_path):
    ui = panel.ui
    torch.save({"model": tiny_weights(seed=1), "ema": tiny_weights(seed=2)}, tmp_path / "weights.pt")
    description = {
        "channels": [{"name": "T1", "modality": "MR", "normalization": "zscore"}],
        "labels": [{"value": value, "name": f"part {value}", "color": [1, 2, 3]} for value in (1, 2)],
        "orientation": "RAS",
        "spacing": [1, 1, 1],
        "patch": [40, 32, 32],
    }
    (tmp_path / "more.json").write_text(json.dumps(description))
    dialogs.answer(str(tmp_path / "weights.pt"))
    ui.importFileButton.click()
    let_work(panel)
    assert "Give a description" in ui.modelsErrorLabel.text
    ui.checkpointDescriptionEdit.currentPath = str(tmp_path / "more.json")
    let_work(panel)
    assert ui.checkpointPartBox.visible and not ui.checkpointConfigurationBox.visible
    assert not ui.importCheckpointButton.enabled
    set_option(ui.checkpointPartBox, "ema")
    let_work(panel)
    assert understood(ui)["Weights"] == "fold 0: weights.pt (ema)"
    assert "rounded up to 48 × 32 × 32" in ui.checkpointRemarksLabel.text
    ui.importCheckpointButton.click()
    let_work(panel)
    assert panel.panel.choice.model.patch == (48, 32, 32)


def test_a_changed_answer_is_examined_before_the_import(panel, dialogs, tmp_path):
    ui = panel.ui
    write_v1_folder(tmp_path / "v1")
    dialogs.answer(str(tmp_path / "v1"))
    ui.importFolderButton.click()
    set_option(ui.checkpointOrientationBox, "RAS")
    let_work(panel)
    assert "Say what they are" in ui.checkpointRemarksLabel.text
    ui.checkpointLabelsEdit.text = "1=spleen,2=liver"
    ui.checkpointLabelsEdit.editingFinished.emit()
    let_work(panel)
    assert understood(ui)["Structures"] == "1 spleen, 2 liver (given)"
    ui.checkpointLabelsEdit.text = "1=liver,2=spleen"
    ui.importCheckpointButton.click()
    let_work(panel)
    assert ui.checkpointGroup.visible, "nothing is imported that was not shown"
    assert understood(ui)["Structures"] == "1 liver, 2 spleen (given)"


def test_the_list_of_published_models_is_read_again(panel, server):
    catalog = json.loads((shipped_models_folder() / "catalog.json").read_text(encoding="utf-8"))
    server.answer("/catalog.json", serve(json.dumps(catalog).encode()))
    assert "free" in rows(panel)
    panel.ui.refreshButton.click()
    let_work(panel)
    assert "free" not in rows(panel)
    assert panel.ui.modelsStatusLabel.text == "Published models: 5."


def test_another_folder_is_remembered_and_the_worker_looks_there(
    panel, packed, dialogs, tmp_path, monkeypatch, volume
):
    assert panel.ui.folderVariableLabel.visible
    assert not panel.ui.chooseFolderButton.visible
    monkeypatch.delenv("MEDNEXT_MODELS")
    panel.enter()
    other = tmp_path / "models of all"
    other.mkdir()
    dialogs.answer(str(other))
    panel.ui.chooseFolderButton.click()
    assert panel.ui.modelsFolderEdit.text == str(other)
    assert drop(panel, packed)
    let_work(panel)
    assert store.find_model("free") == other / "free"
    assert panel.logic.segment(volume, "free", device="cpu", mirroring=False)
    panel.ui.defaultFolderButton.click()
    assert panel.ui.modelsFolderEdit.text != str(other)


def test_a_folder_that_cannot_be_written_is_not_taken(panel, dialogs, monkeypatch, tmp_path):
    monkeypatch.delenv("MEDNEXT_MODELS")
    panel.enter()
    before = panel.ui.modelsFolderEdit.text
    dialogs.answer(str(tmp_path / "gone"))
    panel.ui.chooseFolderButton.click()
    assert "cannot be written" in panel.ui.modelsErrorLabel.text
    assert panel.ui.modelsFolderEdit.text == before


def test_a_task_that_was_chosen_without_weights_shows_the_model_that_it_got(panel):
    choose(panel, "AMOS22")
    tiny_bundle(store.models_folder() / "ours", task="AMOS22", title="Our own")
    panel.enter()
    assert panel.ui.taskBox.currentData == "ours"
    assert "Random weights" in panel.ui.cardLabel.text


@pytest.mark.parametrize("width_px", [380, 700])
def test_a_folder_with_a_long_name_widens_no_panel(panel, tmp_path, server, monkeypatch, width_px):
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / ("Abteilung_fuer_Neuroradiologie_" * 3)))
    server.answer("/free.zip", status(404))
    panel.ui.modelsButton.collapsed = False
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel)
    assert panel.ui.weightsErrorLabel.visible
    assert slicer_standin.save_picture(panel.parent, tmp_path / "panel.png", width_px)[0] == width_px


def test_work_under_way_ends_with_the_panel(panel, server, packed):
    server.answer("/free.zip", stall_after(packed.read_bytes(), 65536))
    choose(panel, "free")
    panel.ui.downloadButton.click()
    let_work(panel, until=lambda: len(server.requests) > 2)
    command = panel.panel.weightsView.command
    slicer_standin.close_module(MODULE.stem)
    assert not command.running
