"""The panel sends a run to a server: its address and key in Slicer's settings, its test, its sentences."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import slicer
from fixtures.panel.driving import MODULE, choose, segment, segmentations
from fixtures.scene.volume_nodes import add_volume, head
from fixtures.servers.mednext_server import HeldEngines, running_server, wait_until
from mednext.model.bundle import Bundle
from mednext.model.model_file import read_model


@pytest.fixture(scope="module")
def department(tmp_path_factory, models):
    """A server with its engines: one for all tests, since each new address or key is a client's process."""
    engines, folder = HeldEngines(), models / "tiny"
    keys = tmp_path_factory.mktemp("keys")
    with running_server(keys, [Bundle(folder, read_model(folder))], engines) as server:
        yield server, engines


@pytest.fixture
def engines(department):
    """The engines of the server; runs do not wait, unless the test lets them."""
    engines = department[1]
    engines.begun.clear()
    engines.release.set()
    return engines


@pytest.fixture
def served(department, engines):
    return department[0]


def enter(edit, text):
    edit.text = text
    edit.editingFinished.emit()


def wait_for(holds):
    """Run the event loop until something holds."""

    def held():
        slicer.app.processEvents()
        return holds()

    wait_until(held)


@pytest.fixture
def connected(ready, served):
    """The panel with "Server..." chosen, and the entries of a server."""
    ready.ui.advancedButton.collapsed = False
    ready.ui.placeBox.setCurrentIndex(1)
    enter(ready.ui.serverAddressEdit, served.address)
    enter(ready.ui.serverKeyEdit, served.access().key)
    wait_for(lambda: "The connection works" in ready.ui.serverStatusLabel.text)
    return ready


def test_a_new_user_computes_here(ready):
    ready.ui.advancedButton.collapsed = False
    assert ready.ui.placeBox.currentText == "This computer"
    assert ready.ui.deviceBox.visible
    assert not ready.ui.serverGroup.visible


def names(widget):
    """The names of the offered models."""
    return [widget.ui.taskBox.itemData(row) for row in range(widget.ui.taskBox.count)]


def test_the_choices_are_the_models_of_the_server_which_need_not_be_here(
    connected, served, tmp_path, monkeypatch
):
    assert names(connected) == ["tiny"]
    table = connected.ui.modelsTable  # of this computer
    assert "two" in {table.item(row, 0).text() for row in range(table.rowCount)}
    assert served.access().name in connected.ui.cardLabel.text
    assert "installed" not in connected.ui.cardLabel.text
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "none"))
    connected.enter()
    assert names(connected) == ["tiny"]
    segment(connected)
    (node,) = segmentations()
    assert node.GetAttribute("MedNeXtSegmentation.server") == served.access().name
    connected.ui.placeBox.setCurrentIndex(0)
    assert "tiny" not in names(connected)


def test_a_model_that_the_server_lacks_stops_a_run(connected):
    connected.ui.placeBox.setCurrentIndex(0)
    choose(connected, "crops")
    connected.ui.placeBox.setCurrentIndex(1)
    assert "Waiting for the models" in connected.ui.problemLabel.text
    wait_for(lambda: "no model" in connected.ui.problemLabel.text)
    assert not connected.ui.segmentButton.enabled
    choose(connected, "tiny")
    assert connected.ui.segmentButton.enabled


def test_a_server_that_does_not_answer_is_told_with_the_way_out(connected, served):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    enter(connected.ui.serverAddressEdit, f"http://127.0.0.1:{port}")
    assert not connected.ui.segmentButton.enabled
    wait_for(lambda: "cannot be reached" in connected.ui.problemLabel.text)
    assert 'Device, "This computer"' in connected.ui.problemLabel.text
    connected.ui.placeBox.setCurrentIndex(0)
    assert connected.ui.segmentButton.enabled


def test_other_structures_of_the_servers_model_are_not_left_out_by_their_values(
    connected, served, monkeypatch
):
    connected.panel._onLeftOut([1])
    bundles = served.service.dispatcher._bundles
    model = bundles["tiny"].model
    labels = (replace(model.labels[0], name="something else"), *model.labels[1:])
    changed = replace(bundles["tiny"], model=replace(model, labels=labels))
    monkeypatch.setitem(bundles, "tiny", changed)
    connected.ui.testServerButton.click()
    wait_for(lambda: connected.panel.choice.model.labels == labels)
    assert connected.panel.parameters.leftOut == []


def test_several_images_in_one_go_leave_this_computer_only_after_the_same_sentence(
    connected, served, engines, scene
):
    connected.panel.segmentSeveral([add_volume(scene, head(), name=name) for name in "AB"])
    assert "The images leave this computer" in connected.ui.warningLabel.text
    segment(connected)
    assert len(engines.begun) == 2
    assert {node.GetAttribute("MedNeXtSegmentation.server") for node in segmentations()} == {
        served.access().name
    }


def test_segment_lets_the_server_compute_and_says_so_before(connected, served, engines):
    assert "The images leave this computer" in connected.ui.warningLabel.text
    assert "leave this computer" in connected.ui.serverPrivacyLabel.text
    assert not connected.ui.deviceBox.visible
    assert f"run on {served.access().name}" in connected.ui.memoryLabel.text
    segment(connected)
    (node,) = segmentations()
    assert node.GetAttribute("MedNeXtSegmentation.server") == served.access().name
    assert len(engines.begun) == 1


def lose_the_key(widget, served, user):
    """Give the panel the key of another user, which is then revoked."""
    enter(widget.ui.serverKeyEdit, served.access(user).key)
    wait_for(lambda: "The connection works" in widget.ui.serverStatusLabel.text)
    served.keys.revoke(user)


def test_the_connection_can_be_tested(connected, served):
    connected.ui.testServerButton.click()
    wait_for(lambda: "The connection works" in connected.ui.serverStatusLabel.text)
    assert "tiny 1.0.0" in connected.ui.serverStatusLabel.text
    lose_the_key(connected, served, "joe")
    connected.ui.testServerButton.click()
    wait_for(lambda: connected.ui.serverErrorLabel.visible)
    assert "was revoked" in connected.ui.serverErrorLabel.text
    assert not connected.ui.serverStatusLabel.visible


@pytest.mark.parametrize(
    ("address", "told"), [("", "Enter the address"), ("http://gpu.example", "unencrypted")]
)
def test_a_wrong_entry_is_told_and_stops_a_run(connected, address, told):
    enter(connected.ui.serverAddressEdit, address)
    assert not connected.ui.segmentButton.enabled
    assert told in connected.ui.problemLabel.text
    connected.ui.testServerButton.click()
    assert told in connected.ui.serverErrorLabel.text


def test_a_refused_run_leaves_the_scene_alone(connected, served):
    lose_the_key(connected, served, "ann")
    connected.ui.segmentButton.click()
    wait_for(lambda: connected.ui.errorLabel.visible)
    assert "was revoked" in connected.ui.errorLabel.text
    assert not segmentations()


def test_a_run_on_the_server_can_be_cancelled(connected, served, engines):
    engines.release.clear()
    connected.ui.segmentButton.click()
    wait_for(lambda: bool(engines.begun))
    connected.ui.segmentButton.click()
    wait_for(lambda: not connected.isBusy())
    assert "Cancelled" in connected.ui.statusLabel.text
    wait_for(lambda: not served.jobs())
    assert not segmentations()


def test_the_entries_are_kept_in_the_settings_and_not_in_the_scene(connected, served, show_panel, tmp_path):
    import slicer_standin

    segment(connected)
    key = served.access().key
    scene = tmp_path / "scene.mrml"
    slicer.mrmlScene.Commit(str(scene))
    assert key not in scene.read_text()
    assert key not in connected.panel.errorButtons.diagnostics.text(None, {}, [], [])
    slicer_standin.close_module(MODULE.stem)
    slicer.mrmlScene.Clear(0)
    again = show_panel(MODULE)[1]
    assert again.ui.placeBox.currentText == "Server..."
    assert again.ui.serverAddressEdit.text == served.address
    assert again.ui.serverKeyEdit.text == key


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
def test_the_settings_with_the_key_are_private(connected):
    settings = Path(slicer.app.userSettings().fileName())
    assert settings.stat().st_mode & 0o077 == 0
    enter(connected.ui.serverKeyEdit, "another")
    slicer.app.userSettings().sync()
    assert settings.stat().st_mode & 0o077 == 0


def test_diagnostics_hold_no_secret_and_nothing_of_the_patient(connected, served, monkeypatch):
    monkeypatch.setenv("MEDNEXT_DICOMWEB_PASSWORD", "Plantedpassword")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Plantedname")
    hierarchy.SetItemAttribute(item, "DICOM.PatientID", "Planted4711")
    hierarchy.SetItemUID(item, "DICOM", "1.2.826.4711")
    key, address = served.access().key, served.address
    lines = [
        f"{address} refuses {key} and Plantedpassword of Plantedname (Planted4711, 1.2.826.4711)",
        "Looking in indexes: https://me:Plantedindex@packages.example/simple",
    ]
    text = connected.panel.errorButtons.diagnostics.text(None, {"server": served.access().name}, lines, lines)
    for word in ("lanted", "4711", key, address, served.access().name):
        assert word not in text
    assert "packages.example/simple" in text


def test_scripts_name_the_server_by_its_address(ready, volume, served, monkeypatch):
    from mednext.errors import OptionError

    from MedNeXtSegmentation import MedNeXtSegmentationLogic

    logic = MedNeXtSegmentationLogic()
    with pytest.raises(OptionError, match="MEDNEXT_SERVER_KEY"):
        logic.segment(volume, model="tiny", server=served.address)
    monkeypatch.setenv("MEDNEXT_SERVER_KEY", served.access().key)
    with pytest.raises(OptionError, match="a server has its own"):
        logic.segment(volume, model="tiny", server=served.address, device="cpu")
    node = logic.segment(volume, model="tiny", server=served.address, mirroring=False)
    assert node.GetAttribute("MedNeXtSegmentation.server") == served.access().name
    assert node.GetSegmentation().GetNumberOfSegments()


def test_a_folder_of_files_is_segmented_on_the_server(ready, served, tmp_path, monkeypatch):
    from fixtures.servers.mednext_server import noise
    from mednext.images.volume import write_image

    from MedNeXtSegmentation import MedNeXtSegmentationLogic

    monkeypatch.setenv("MEDNEXT_SERVER_KEY", served.access().key)
    (tmp_path / "in").mkdir()
    image = noise()
    write_image(tmp_path / "in" / "case.nii.gz", image.array[0], image.geometry)
    rows = MedNeXtSegmentationLogic().segmentFolder(
        tmp_path / "in", tmp_path / "out", "tiny", server=served.address, mirroring=False
    )
    assert [row.status for row in rows] == ["done"]
    assert (tmp_path / "out" / "case.seg.nrrd").exists()
