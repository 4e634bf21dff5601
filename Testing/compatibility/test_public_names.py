"""Names that documents, scripts and consoles know of version 0.1.0 go on working; new ones may join them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import mednext
import pytest
from mednext import cli, errors
from mednext.library.catalog_source import load_catalog
from mednext.library.folder_locations import models_folder
from mednext.network.native_library import native_library

COMMANDS = {
    "segment": "device folds format help json model no-mirror output overwrite precision quiet roi threads "
    "uncertainty",
    "segment-folder": "device folds help json list model no-mirror no-resume precision quiet threads",
    "models list": "events help json quiet",
    "models install": "events help json overwrite quiet sha256",
    "models import": "citation description events folds full-precision help images json labels licence "
    "model-version name orientation overwrite quiet task title training-data weights",
    "models export": "events help json overwrite quiet",
    "models remove": "events help json quiet",
    "info": "help json quiet",
}
TRAINING = {
    "convert": "",
    "plan": "patch batch-size",
    "train": "variant kernel fold epochs iterations validation-iterations checkpointing stop-after",
    "export": "variant kernel folds checkpoint orientation version",
    "evaluate": "fold no-mirror table record",
}
ERRORS = """AlreadyInstalledError BundleError BundleFormatError BundleIntegrityError Cancelled CatalogError
    ChannelError CheckpointError DeviceError DiskSpaceError DownloadError DownloadIntegrityError
    EngineProcessError GeometryError IncompatibleCheckpointError IncompleteBatchError InputError MedNeXtError
    MissingPackageError NumericalError OptionError OutOfMemoryError OutputError UnknownModelError
    UnreadableImageError UnsafeCheckpointError UnsafePathError UnsupportedImageError UpKernError
    WeightsUnavailableError"""
EXPORTS = """Geometry Roi Volume read_volume read_channels combine_channels Bundle load_bundle Progress
    segment Segmentation write_segmentation __version__"""
RUN_OPTIONS = "roiNode device folds mirroring segmentationNode labels uncertainty precision"
METHODS = {
    "segment": "volumeNode model progressCallback options",
    "segmentAsync": "volumeNode model onProgress onDone onError options",
    "segmentScene": "model again reportFile progressCallback caseCallback options",
    "segmentFolder": "input output model resume device folds mirroring progressCallback caseCallback",
    "undo": "segmentationNode",
}


def test_the_engine_exports_its_names():
    assert [name for name in EXPORTS.split() if not getattr(mednext, name, None)] == []
    assert set(EXPORTS.split()) <= set(dir(mednext))


def test_errors_stay_in_one_module():
    found = {name: getattr(errors, name, object) for name in ERRORS.split()}
    assert [name for name, error in found.items() if not issubclass(error, errors.MedNeXtError)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_keep_their_options(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    told = capsys.readouterr().out
    assert [option for option in COMMANDS[command].split() if f"--{option}" not in told] == []


@pytest.mark.parametrize("command", TRAINING)
def test_training_commands_keep_their_options(command, capsys):
    from mednext_training import cli as training

    with pytest.raises(SystemExit):
        training.main([command, "--help"])
    told = capsys.readouterr().out
    assert [option for option in TRAINING[command].split() if f"--{option}" not in told] == []


@pytest.mark.parametrize("method", METHODS)
def test_the_logic_keeps_its_methods_and_arguments(scene, method):
    from MedNeXtSegmentationLib.logic import MedNeXtSegmentationLogic

    arguments = inspect.signature(getattr(MedNeXtSegmentationLogic, method)).parameters
    taken = set(arguments) | (set(RUN_OPTIONS.split()) if "options" in arguments else set())
    assert set(METHODS[method].split()) <= taken | {"options"}


def test_the_logic_keeps_its_options(scene):
    from MedNeXtSegmentationLib.run_options import RunOptions

    assert set(RUN_OPTIONS.split()) <= set(inspect.signature(RunOptions).parameters)


def test_the_environment_chooses_the_models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "mine"))
    assert models_folder() == tmp_path / "mine"


def test_the_environment_does_without_the_native_library(monkeypatch):
    monkeypatch.setenv("MEDNEXT_NATIVE", "off")
    native_library.cache_clear()
    assert native_library() is None
    native_library.cache_clear()


def test_the_environment_names_another_catalog(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path))
    monkeypatch.setenv("MEDNEXT_CATALOG_URL", "no address")
    remarks: list[str] = []
    load_catalog(remarks=remarks)
    assert "MEDNEXT_CATALOG_URL" in remarks[0]


@pytest.mark.parametrize(
    "name",
    [
        "mednext.devices.DEVICES",
        "mednext.environment_check.main",
        "mednext.errors.MedNeXtError",
        "mednext.model.Model",
        "mednext.network.MedNeXt",
        "mednext.pipeline.Progress",
        "mednext.pipeline.segment",
        "mednext.store.installed_models",
    ],
)
def test_modules_that_documents_named_are_still_found(name):
    module, _, attribute = name.rpartition(".")
    assert getattr(import_module(module), attribute)


@pytest.mark.parametrize("module", ["mednext", "mednext.worker"])
def test_programs_start_by_their_names(module):
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, input="", check=False)
    assert "No module" not in done.stderr
