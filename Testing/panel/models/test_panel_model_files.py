"""Models in files and folders: imported, exported, replaced, removed, kept elsewhere."""

from __future__ import annotations

import pytest
import slicer_standin
from fixtures.downloads.http_server import status
from fixtures.panel.driving import choose
from fixtures.panel.model_lists import drop, let_work, names
from mednext.library import store


@pytest.fixture
def installed(panel, packed):
    """The model "free" is installed, and its row chosen in the opened section."""
    store.install_from_zip(packed)
    panel.enter()
    panel.ui.modelsButton.collapsed = False
    assert names(panel) == ["hippocampus", "free"]
    panel.ui.modelsTable.selectRow(1)
    return panel


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


def test_unfinished_downloads_are_told_and_removed(panel, models):
    part = models / ".downloads" / "0123456789abcdef.zip.part"
    panel.enter()
    assert not panel.ui.cleanButton.visible
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(3 * 2**20))
    panel.enter()
    assert "3 MiB" in panel.ui.cleanButton.text
    panel.ui.cleanButton.click()
    let_work(panel)
    assert "3 MiB of unfinished downloads were removed" in panel.ui.modelsStatusLabel.text
    assert not part.exists() and not panel.ui.cleanButton.visible
