"""Repairing installs missing and broken packages in Slicer's Python; torch stays out of Slicer."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
import slicer_standin
from fixtures.environment.pytorch_utils import GENERATIONS, LATEST, ExtensionsManager
from fixtures.environment.slicer_python import make_slicer_python, use_slicer_python
from mednext.errors import MissingPackageError

slicer_standin.start()
from MedNeXtSegmentationLib.engine.worker_client import WorkerClient  # noqa: E402
from MedNeXtSegmentationLib.environment.check import EnvironmentCheck  # noqa: E402
from MedNeXtSegmentationLib.environment.findings import findingsOf  # noqa: E402
from MedNeXtSegmentationLib.environment.repair import repair  # noqa: E402
from MedNeXtSegmentationLib.environment.repair_plan import (  # noqa: E402
    RepairPlan,
    TorchLook,
    lookAtTorch,
    missingRequirements,
    repairPlanFor,
)
from MedNeXtSegmentationLib.environment.torch_removal import torchFolders  # noqa: E402

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="links as on Linux and macOS"),
    pytest.mark.filterwarnings("ignore:_executePythonModule is deprecated"),  # the extension still calls it
]


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Slicer's Python without torch, as Slicer itself and its children see it."""
    python = make_slicer_python(tmp_path / "Slicer")
    use_slicer_python(python, monkeypatch)
    return python


@pytest.fixture
def extension(tmp_path, monkeypatch):
    """The latest PyTorch extension, installed before Slicer was started."""
    return install_extension(LATEST, tmp_path, monkeypatch)


@pytest.fixture
def client():
    client = WorkerClient()
    yield client
    client.shutdown()


def install_extension(generation, tmp_path, monkeypatch):
    generation.write(tmp_path / "PyTorch")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "PyTorch"), *sys.path])
    monkeypatch.delitem(sys.modules, "PyTorchUtils", raising=False)
    return importlib.import_module("PyTorchUtils")


def check():
    result = EnvironmentCheck().result()
    return findingsOf(result), result


class Told:
    """Stages and lines, in order."""

    def __init__(self):
        self.stages, self.lines = [], []

    def repair(self, plan, client):
        return repair(plan, client, self.stages.append, self.lines.append)


@pytest.mark.parametrize("generation", GENERATIONS.values(), ids=GENERATIONS.keys())
def test_torch_is_installed_through_every_version_of_the_extension(
    generation, python, client, tmp_path, monkeypatch
):
    extension = install_extension(generation, tmp_path, monkeypatch)
    assert lookAtTorch() is TorchLook.ABSENT
    restart = Told().repair(RepairPlan(torch=True), client)
    assert not restart
    assert lookAtTorch() is TorchLook.WHOLE
    assert "torch" not in sys.modules
    (arguments,) = extension.asked  # torchInstalled would import torch
    arguments = arguments.get("options", arguments)
    assert not arguments.get("askConfirmation")
    if "torchVersionRequirement" in generation.parameters:
        assert arguments["torchVersionRequirement"] == ">=2.6"


def test_slicer_goes_on_while_pip_works_and_its_lines_are_told(
    python, extension, client, tmp_path, monkeypatch
):
    import qt

    monkeypatch.setenv("WAITS_FOR", str(tmp_path / "downloaded"))
    ticks = []

    def tick():
        ticks.append("tick")
        if len(ticks) == 6:
            (tmp_path / "downloaded").touch()

    timer = qt.QTimer()
    timer.connect("timeout()", tick)
    timer.start(5)
    told = Told()
    told.repair(RepairPlan(torch=True), client)
    timer.stop()
    assert len(ticks) >= 6
    assert told.stages == ["Downloading and installing PyTorch: some minutes"]
    assert told.lines == [
        "light_the_torch install torch torchvision",
        "Successfully installed torch",
        "Successfully installed torchvision",
    ]


@pytest.mark.parametrize(
    ("record", "files"),
    [("2.9.0", {"__init__.py": "raise ImportError('half')"}), (None, {"lib/c10.so": ""})],
    ids=["with its record", "without"],
)
def test_half_a_torch_is_removed_to_the_last_file_and_installed_again(
    python, extension, client, files, record
):
    python.add("torch", record, files)
    python.add("~orch", None, {"left.py": ""})
    python.add("torchio", "1.0", {"__init__.py": ""})
    findings, result = check()
    plan = repairPlanFor(findings, result.facts.site_packages)
    assert plan.removeFrom == str(python.packages)
    Told().repair(plan, client)
    findings, result = check()
    assert findings[0].text.startswith(f"PyTorch {result.facts.torch.version} works")
    assert not (python.packages / "~orch").exists()
    assert not (python.packages / "torch" / "lib" / "c10.so").exists()
    assert (python.packages / "torchio").exists()


def test_only_pytorchs_own_folders_count_as_its_remains(python):
    ours = ["functorch", "torch", "torch-2.9.0+cpu.dist-info", "torchgen", "torchvision", "~orch"]
    others = ["pytorch_lightning", "torch_geometric", "torchio", "torchmetrics-1.0.dist-info"]
    for name in (*ours, *others):
        python.packages.joinpath(name).mkdir()
    assert [path.name for path in torchFolders(python.packages)] == ours


def test_a_missing_small_package_is_installed_through_slicers_packaging(tmp_path, monkeypatch, client):
    python = make_slicer_python(tmp_path / "Slicer", without=["safetensors.*"])
    use_slicer_python(python, monkeypatch)
    assert missingRequirements() == ["safetensors<1,>=0.4"]
    told = Told()
    told.repair(RepairPlan(packages=True), client)
    assert told.stages == ["Installing small packages"]
    assert missingRequirements() == []


def test_without_a_network_the_reason_is_pips_own(python, extension, client, monkeypatch):
    monkeypatch.setenv("OFFLINE", "1")
    with pytest.raises(MissingPackageError, match="no network"):
        Told().repair(RepairPlan(torch=True), client)
    assert lookAtTorch() is TorchLook.ABSENT


def test_the_extension_is_installed_without_a_question_or_a_restart(python, client, tmp_path, monkeypatch):
    model = ExtensionsManager(tmp_path / "Extensions" / "PyTorch", LATEST)
    monkeypatch.setattr(slicer.app, "_extensions_manager", model)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "PyTorchUtils", raising=False)
    told = Told()
    assert told.repair(RepairPlan(torch=True), client) is False
    assert model.asked == [("PyTorch", False, False)]
    assert model.interactive
    assert told.stages[0] == "Installing Slicer's extension PyTorch"
    assert lookAtTorch() is TorchLook.WHOLE
    sys.modules.pop("PyTorchUtils")


@pytest.mark.parametrize(
    "model",
    [
        ExtensionsManager(Path("nowhere"), None),
        None,
        SimpleNamespace(isExtensionInstalled=lambda _name: False),
    ],
    ids=["without a network", "built without extensions", "older than 5.4"],
)
def test_without_the_extension_it_is_told_how_to_get_it(python, client, monkeypatch, model):
    monkeypatch.setattr(slicer.app, "_extensions_manager", model)
    monkeypatch.delitem(sys.modules, "PyTorchUtils", raising=False)
    with pytest.raises(MissingPackageError, match="Extensions Manager"):
        Told().repair(RepairPlan(torch=True), client)


def test_a_torch_that_another_extension_uses_needs_a_restart(python, extension, client, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    python.add("torch", "2.1.0", {"__init__.py": ""})
    assert Told().repair(RepairPlan(torch=True, removeFrom=str(python.packages)), client) is True
    assert client.process is None


def test_the_warm_worker_is_ended_before_and_started_after(python, extension, client):
    client.prepare()
    while client.process is None:
        time.sleep(0.01)
    before = client.process
    Told().repair(RepairPlan(torch=True), client)
    assert not before.alive
    while client.process is before:
        time.sleep(0.01)
    assert client.process.alive


@pytest.mark.parametrize(
    ("version", "files", "look"),
    [
        ("2.9.0", {"__init__.py": ""}, TorchLook.WHOLE),
        ("2.1.0", {"__init__.py": ""}, TorchLook.STRANGE),
        (None, {"__init__.py": ""}, TorchLook.STRANGE),
        ("2.9.0", {}, TorchLook.STRANGE),
    ],
)
def test_the_quick_look_goes_by_files_and_records(python, version, files, look):
    python.add("torch", version, files)
    assert lookAtTorch() is look
    assert "torch" not in sys.modules
