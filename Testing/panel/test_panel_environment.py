"""The panel on a machine without PyTorch, or with a broken one: by its buttons, with real child processes."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slicer
import slicer_standin
from fixtures.environment.pytorch_utils import LATEST
from fixtures.environment.slicer_python import TORCH, make_slicer_python, use_slicer_python
from fixtures.panel.driving import MODULE, let_run, segmentations
from fixtures.scene.volume_nodes import add_volume, head
from mednext.errors import ChannelError, EngineProcessError

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="links as on Linux and macOS"),
    pytest.mark.filterwarnings("ignore:_executePythonModule is deprecated"),  # the extension still calls it
]

HERE = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "SimpleITK", "requests", "safetensors", "urllib3"}
PATIENCE_S = 200
DOWNLOADING = "Downloading and installing PyTorch: some minutes"


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Slicer's Python without torch and safetensors, but with the extension PyTorch."""
    python = make_slicer_python(tmp_path / "Slicer", without=[TORCH, "safetensors.*"])
    LATEST.write(tmp_path / "PyTorch")
    use_slicer_python(python, monkeypatch)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "PyTorch"), *sys.path])
    monkeypatch.delitem(sys.modules, "PyTorchUtils", raising=False)
    return python


@pytest.fixture
def engine(python):
    """No worker from before, and none of that Python afterwards."""
    from MedNeXtSegmentationLib.engine.worker_client import shared_client

    shared_client().shutdown()
    yield shared_client()
    shared_client().shutdown()


@pytest.fixture
def bare(engine, ready):
    """The panel on such a machine, with a model and a volume chosen."""
    return ready


@pytest.fixture
def during_download(bare, tmp_path, monkeypatch):
    """`during_download(action)`: it is done by the event loop while PyTorch is downloaded, once."""
    import qt

    monkeypatch.setenv("WAITS_FOR", str(tmp_path / "downloaded"))
    timer = qt.QTimer()

    def watch(action):
        def look():
            if bare.ui.stageLabel.text == DOWNLOADING:
                timer.stop()
                action()
                (tmp_path / "downloaded").touch()

        timer.connect("timeout()", look)
        timer.start(5)

    yield watch
    timer.stop()


@pytest.fixture
def section(ready):
    """The section "Environment", open."""
    ready.ui.advancedButton.collapsed = False
    ready.ui.environmentButton.collapsed = False
    return ready


def wait_until(condition):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < PATIENCE_S
        slicer.app.processEvents()
        slicer_standin.rest(0.01)


def check(widget):
    """Press Check and wait; returns the shown text."""
    widget.ui.checkButton.click()
    assert widget.ui.environmentProgress.visible
    wait_until(lambda: widget.ui.checkButton.enabled)
    return plain(widget.ui.findingsLabel.text)


def plain(rich):
    return re.sub(r"<[^>]*>", " ", rich)


def clipboard():
    import qt

    return qt.QApplication.clipboard().text()


def test_the_first_use_is_one_question_and_then_the_segmentation_runs_by_itself(
    bare, python, dialogs, during_download
):
    import qt

    seen = []
    dialogs.answer(qt.QMessageBox.Ok)
    during_download(lambda: seen.append((bare.ui.stageLabel.text, bare.ui.segmentButton.enabled)))
    bare.ui.segmentButton.click()
    assert len(dialogs.asked) == 1
    for words in ("PyTorch", "gigabytes", "safetensors", "Slicer's own folder"):
        assert words in html.unescape(dialogs.asked[0].text)
    assert seen == [(DOWNLOADING, False)]
    assert bare.ui.segmentButton.text == "&Cancel"
    let_run(bare)
    assert not bare.ui.errorLabel.visible, bare.ui.errorLabel.text
    assert len(segmentations()) == 1
    assert "torch" not in sys.modules
    assert (python.packages / "torch").exists()
    assert any("Successfully installed" in line for line in bare.panel.environmentView.repair.lines)


def test_opening_the_panel_without_pytorch_starts_no_worker_that_could_only_fail(engine, request):
    before = engine.process  # the ended one of an earlier test
    request.getfixturevalue("ready")
    assert engine.process is before


def test_declining_is_a_calm_sentence(bare, dialogs):
    import qt

    dialogs.answer(qt.QMessageBox.Cancel)
    bare.ui.segmentButton.click()
    assert bare.ui.statusLabel.text.startswith("Nothing was installed.")
    assert not bare.ui.errorLabel.visible
    assert not bare.isBusy()
    assert bare.ui.segmentButton.enabled


def test_without_a_network_the_error_says_so_and_offers_the_log(bare, dialogs, monkeypatch):
    import qt

    monkeypatch.setenv("OFFLINE", "1")
    dialogs.answer(qt.QMessageBox.Ok)
    bare.ui.segmentButton.click()
    assert "no network" in bare.ui.errorLabel.text
    assert bare.ui.errorButtonsWidget.visible
    bare.ui.copyDiagnosticsButton.click()
    assert "ERROR: Could not find a version" in clipboard()


def test_closing_the_scene_while_something_is_installed_begins_no_run(bare, dialogs, scene, during_download):
    import qt

    dialogs.answer(qt.QMessageBox.Ok)
    during_download(lambda: scene.Clear(0))
    bare.ui.segmentButton.click()
    assert not bare.isBusy()
    assert not bare.ui.progressWidget.visible
    assert not bare.ui.segmentButton.enabled


def test_a_broken_torch_is_repaired_from_beside_the_error(bare, python, dialogs):
    import qt

    python.link("safetensors.*")
    python.add("torch", "2.9.0", {"__init__.py": "raise ImportError('libcudnn.so: cannot open')"})
    bare.ui.segmentButton.click()
    let_run(bare)
    assert "libcudnn.so" in bare.ui.errorLabel.text
    assert bare.ui.checkAndRepairButton.visible
    dialogs.answer(qt.QMessageBox.Ok)
    bare.ui.checkAndRepairButton.click()
    assert not bare.ui.environmentButton.collapsed
    wait_until(lambda: "works, on" in bare.ui.findingsLabel.text)
    assert "removed and installed again" in dialogs.asked[0].text
    assert not bare.ui.repairButton.enabled
    bare.ui.segmentButton.click()
    let_run(bare)
    assert not bare.ui.errorButtonsWidget.visible
    assert len(segmentations()) == 1


def test_torch_that_looks_strange_is_looked_at_before_anything_is_asked(bare, python, dialogs):
    import qt

    python.link("safetensors.*")
    python.add("torch", None, {"lib/c10.so": ""})
    dialogs.answer(qt.QMessageBox.Ok)
    bare.ui.segmentButton.click()
    assert "removed and installed again" in dialogs.asked[0].text
    let_run(bare)
    assert len(segmentations()) == 1


def test_repair_installs_the_packages_that_the_check_missed(bare, python, dialogs):
    import qt

    bare.ui.environmentButton.collapsed = False
    text = check(bare)
    assert "PyTorch is not installed." in text
    assert "The package safetensors is missing." in text
    dialogs.answer(qt.QMessageBox.Ok)
    bare.ui.repairButton.click()
    wait_until(lambda: "works, on" in bare.ui.findingsLabel.text)
    assert "Successfully installed torch" in bare.ui.logText.plainText
    assert "torch" not in sys.modules


def test_the_time_until_the_device_is_freed_is_remembered(section):
    from MedNeXtSegmentationLib import settings
    from MedNeXtSegmentationLib.engine.worker_client import shared_client

    assert section.ui.idleBox.value == 5
    section.ui.idleBox.setValue(12)
    assert shared_client().release_after_s == 720
    assert settings.IDLE_MINUTES.get() == 12
    section.ui.idleBox.setValue(5)


def test_diagnostics_tell_a_developer_all_but_whose_image_it_was(ready, scene, tmp_path):
    patient = add_volume(scene, head(), name="Müller Anna 1961")
    patient.AddDefaultStorageNode()
    patient.GetStorageNode().SetFileName(str(tmp_path / "klinik" / "mueller_anna.nrrd"))
    ready.panel.errorButtons.diagnostics.noteRun({"device": "cpu", "mirroring": False})
    error = ChannelError(f"Müller Anna 1961 from {tmp_path}/klinik/mueller_anna.nrrd is no MR image.")
    error.add_note("Traceback of the worker")
    ready.panel.errorButtons.show(error)
    assert ready.ui.copyDiagnosticsButton.visible
    assert not ready.ui.checkAndRepairButton.visible
    scene.RemoveNode(patient)
    ready.ui.copyDiagnosticsButton.click()
    assert ready.ui.copiedLabel.text == "Copied to the clipboard."
    assert ready.ui.copiedLabel.visible
    text = clipboard()
    for words in (
        "MedNeXtSegmentation 0.",
        "Slicer 5.",
        "device: cpu",
        "ChannelError",
        "Traceback of the worker",
    ):
        assert words in text
    for words in ("Müller", "mueller", "klinik", str(Path.home()) + "/"):
        assert words not in text


def test_check_lists_the_packages_and_diagnostics_have_it_and_the_last_result(section, volume, tmp_path):
    section.ui.segmentButton.click()
    let_run(section)
    text = check(section)
    assert "PyTorch" in text and "works, on" in text and "safetensors" in text
    assert not section.ui.repairButton.enabled
    for width_px in (380, 700):
        assert slicer_standin.save_picture(section.parent, tmp_path / "panel.png", width_px)[0] == width_px
    section.ui.copyAllDiagnosticsButton.click()
    text = clipboard()
    for words in ("== Environment check", "[ok] PyTorch", "site_packages", "== Last result", "model: tiny"):
        assert words in text


def test_an_error_that_repair_cannot_cure_offers_the_diagnostics_only(ready):
    ready.panel.errorButtons.show(EngineProcessError("The worker crashed."))
    assert ready.ui.checkAndRepairButton.visible
    ready.panel.errorButtons.show(ChannelError("Too few channels."))
    assert not ready.ui.checkAndRepairButton.visible
    ready.panel.errorButtons.show(None)
    assert not ready.ui.errorButtonsWidget.visible


def in_a_new_slicer(program, *, missing=()):
    """Run a program in a Slicer that has just started, and cannot import these packages."""
    preamble = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(MODULE.parent)!r}]
import slicer_standin
from pathlib import Path
core = slicer_standin.start()
MODULE = Path({str(MODULE)!r})


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(missing)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Missing())
"""
    command = [sys.executable, "-c", preamble + program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_parts_of_the_module_are_imported_when_they_are_used_and_nothing_heavy():
    stages = in_a_new_slicer("""
def new():
    global known
    print(*set(sys.modules) - known)
    known = set(sys.modules)

known = set(sys.modules)
slicer_standin.load_module(MODULE)
new()
from MedNeXtSegmentation import MedNeXtSegmentationLogic
print(MedNeXtSegmentationLogic().segment.__name__)
slicer_standin.show_module("MedNeXtSegmentation")
new()
""").splitlines()
    loaded, named, opened = (set(stage.split()) for stage in stages)
    assert {name for name in loaded if name.startswith(("MedNeXt", "mednext"))} == {
        "MedNeXtSegmentation",
        "MedNeXtSegmentationLib",
        "MedNeXtSegmentationLib.icbm152",
        "MedNeXtSegmentationLib.sample_data",
        "MedNeXtSegmentationLib.panel",
        "MedNeXtSegmentationLib.panel.widget",
    }
    assert len(loaded) < 20
    assert named == {"segment"}
    assert "mednext" in opened
    assert not HEAVY & {name.partition(".")[0] for name in opened}


def test_the_panel_segments_in_a_slicer_that_can_import_none_of_the_engines_packages(models):
    in_a_new_slicer(
        f"""
import os
os.environ["MEDNEXT_MODELS"] = {str(models)!r}
slicer_standin.load_module(MODULE)
panel, widget = slicer_standin.show_module("MedNeXtSegmentation")
from fixtures.panel.driving import choose, segment
from fixtures.scene.volume_nodes import add_volume, head
add_volume(core.scene, head())
choose(widget, "tiny")
widget.ui.mirroringBox.checked = False
segment(widget)
""",
        missing=HEAVY,
    )


def test_long_texts_in_the_section_widen_no_panel(section, tmp_path):
    section.ui.logText.plainText = "a line of the log that is longer than any panel " * 9
    section.panel.runView.say("Something is wrong. " * 12, error=True)
    section.panel.errorButtons.show(EngineProcessError("Something"))
    for width_px in (380, 700):
        assert slicer_standin.save_picture(section.parent, tmp_path / "panel.png", width_px)[0] == width_px
