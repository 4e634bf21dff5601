"""Correct, collect, train again: from the panel's button to a better model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.training import challenge_trees as trees
from mednext import load_bundle, segment
from mednext.images.volume import Volume
from mednext_training import cli
from mednext_training.evaluation.metrics import dice

CASES = 3  # one for each fold
PATIENCE_S = 200

pytestmark = pytest.mark.timeout(1800)


def collect(widget: Any, scene: Any, dialogs: Any, folder: Path, seed: int) -> None:
    """Segment a phantom in the panel, correct every voxel, and press "Add to training set..."."""
    import slicer
    import slicer_standin
    from fixtures.panel.driving import segment as press_segment
    from fixtures.panel.driving import selector
    from fixtures.scene.segmentation_nodes import by_name, paint
    from fixtures.scene.volume_nodes import add_volume

    phantom = trees.hippocampus_phantom(seed)
    volume = add_volume(scene, phantom.images[0], phantom.geometry.ijk_to_ras)
    selector(widget, 0).setCurrentNode(volume)
    node = press_segment(widget)
    for value, name in enumerate(("spleen", "liver"), start=1):
        paint(node, by_name(node, name), phantom.labels == value, volume)
    dialogs.answer(str(folder))
    widget.ui.trainingButton.click()
    begin = time.monotonic()
    while widget.panel.resultView.files.writing:
        assert time.monotonic() - begin < PATIENCE_S
        slicer.app.processEvents()
        slicer_standin.rest(0.01)


def mean_dice(model: Path) -> float:
    """Of a model on a patient that nobody has seen."""
    patient = trees.hippocampus_phantom(1000)
    found = segment(Volume(patient.images, patient.geometry), load_bundle(model), mirroring=False)
    return float(np.mean([dice(patient.labels == value, found.labelmap == value) for value in (1, 2)]))


def test_corrections_collected_in_the_panel_make_a_better_model(
    ready: Any,
    scene: Any,
    dialogs: Any,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nnunet_in_threads: None,
) -> None:
    for seed in range(CASES):
        collect(ready, scene, dialogs, tmp_path, seed)
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # no new process with another allocator
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    data = ["--dataset", str(tmp_path / "Dataset501_Test")]
    network = ["--variant", "tiny"]
    schedule = ["--epochs", "1", "--iterations", "40", "--validation-iterations", "1"]
    for command in (
        ["check", *data],
        ["plan", *data, "--patch", "32", "32", "32", "--processes", "1"],
        ["train", *data, *network, *schedule, "--learning-rate", "1e-2"],
        ["export", *data, *network, str(tmp_path / "better")],
    ):
        assert cli.main(["--workspace", str(tmp_path / "runs"), *command]) == 0
    assert not (tmp_path / "runs" / "raw").exists() or not list((tmp_path / "runs" / "raw").iterdir())
    better = mean_dice(tmp_path / "better")
    assert better >= 0.8
    assert better > mean_dice(models / "tiny")
    assert [label.name for label in load_bundle(tmp_path / "better").model.labels] == ["spleen", "liver"]
