"""A foreign checkpoint in the panel: shown as it was understood, asked about, then imported."""

from __future__ import annotations

import torch
from fixtures.models.bundles import tiny_weights
from fixtures.models.results_folders import write_description, write_v1_folder, write_v2_folder
from fixtures.panel.driving import choose, set_option
from fixtures.panel.model_lists import let_work


def understood(ui):
    """The table of all that was understood of a checkpoint."""
    table = ui.checkpointTable
    return {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}


def test_a_results_folder_of_nnunet_becomes_a_model(panel, dialogs, tmp_path, here):
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


def test_the_form_asks_along_which_axes_an_unknown_training_mirrored(panel, dialogs, tmp_path, here):
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


def test_of_several_networks_in_a_file_the_form_lets_choose(panel, dialogs, tmp_path, here):
    ui = panel.ui
    torch.save({"model": tiny_weights(seed=1), "ema": tiny_weights(seed=2)}, tmp_path / "weights.pt")
    description = write_description(tmp_path / "more.json", patch=[40, 32, 32])
    dialogs.answer(str(tmp_path / "weights.pt"))
    ui.importFileButton.click()
    let_work(panel)
    assert "Give a description" in ui.modelsErrorLabel.text
    ui.checkpointDescriptionEdit.currentPath = str(description)
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


def test_a_changed_answer_is_examined_before_the_import(panel, dialogs, tmp_path, here):
    ui = panel.ui
    write_v1_folder(tmp_path / "v1")
    dialogs.answer(str(tmp_path / "v1"))
    ui.importFolderButton.click()
    set_option(ui.checkpointOrientationBox, "RAS")
    let_work(panel)
    assert "Name them" in ui.checkpointRemarksLabel.text
    ui.checkpointLabelsEdit.text = "1=spleen,2=liver"
    ui.checkpointLabelsEdit.editingFinished.emit()
    let_work(panel)
    assert understood(ui)["Structures"] == "1 spleen, 2 liver (given)"
    ui.checkpointLabelsEdit.text = "1=liver,2=spleen"
    ui.importCheckpointButton.click()
    let_work(panel)
    assert ui.checkpointGroup.visible, "nothing is imported that was not shown"
    assert understood(ui)["Structures"] == "1 liver, 2 spleen (given)"


def test_an_answer_that_changes_during_an_examination_is_examined_instead(panel, dialogs, tmp_path, here):
    ui = panel.ui
    write_v2_folder(tmp_path / "v2")
    dialogs.answer(str(tmp_path / "v2"))
    ui.importFolderButton.click()
    let_work(panel)
    set_option(ui.checkpointOrientationBox, "RAS")
    set_option(ui.checkpointOrientationBox, "LAS")
    let_work(panel)
    assert understood(ui)["Orientation"] == "LAS (given)"
    ui.importCheckpointButton.click()
    let_work(panel)
    assert panel.panel.choice.model.orientation == "LAS"
