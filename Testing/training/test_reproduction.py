"""One command leads from a challenge's files to a model that the panel downloads to segment a new patient.

All but one of them take minutes: `make reproduce-tiny` runs them all.
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.downloads.http_server import Server, serve
from fixtures.training import challenge_trees as trees
from mednext import load_bundle
from mednext.library.catalog import read_catalog
from mednext.library.catalog_source import find_task
from mednext.model.labels import Terminology
from mednext_training import cli
from mednext_training.conversion.challenges import LAYOUTS
from mednext_training.evaluation.metrics import dice
from mednext_training.reproducing import BUDGETS, Command, Recipe, commands_of, reproduce
from mednext_training.workspace import Workspace

Structure = tuple[Terminology | None, tuple[int, ...]]  # codes, and the values of its labels
RELEASE = "https://models.example.org/release/"
PATIENCE_S = 300
ALL = "MEDNEXT_ALL_TASKS"
IN_EVERY_RUN = "kits19"


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch, nnunet_in_threads: None) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # no new process with another allocator
    for variable, value in (("nnUNet_n_proc_DA", "0"), ("nnUNet_def_n_proc", "1"), ("MPLBACKEND", "Agg")):
        monkeypatch.setenv(variable, value)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("challenge", "options"), [*((name, ()) for name in LAYOUTS), ("brats21", ("--regions",))]
)
def test_one_command_makes_a_model_that_segments_a_new_patient(
    tmp_path: Path,
    challenge: str,
    options: tuple[str, ...],
    capsys: pytest.CaptureFixture,
    scene: Any,
    show_panel: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if ALL not in os.environ:
        if challenge != IN_EVERY_RUN or options:
            pytest.skip("takes minutes: make reproduce-tiny")
        training = (*BUDGETS["tiny"].training, "--epochs", "2", "--iterations", "25")
        monkeypatch.setitem(BUDGETS, "tiny", replace(BUDGETS["tiny"], training=training))
    source = trees.WRITERS[challenge](tmp_path / "source", 6)
    model = tmp_path / "models" / "mine"
    words = ["reproduce", challenge, str(source), "--budget", "tiny", "--target", str(model)]
    words += [*options, "--publish", str(tmp_path / "release"), "--url", RELEASE]
    assert cli.main(["--workspace", str(tmp_path / "runs"), *words]) == 0
    bundle = load_bundle(model)
    assert bundle.model.accuracy is not None
    assert_published(tmp_path / "release")
    task = find_task(bundle.model.task)
    assert task.name.casefold() == challenge
    structures = {region.name: (region.terminology, region.labels) for region in task.regions}
    if not options:
        assert [(label.value, label.name, label.terminology) for label in bundle.model.labels] == [
            (label.value, label.name, label.terminology) for label in task.labels
        ]
        structures |= {label.name: (label.terminology, (label.value,)) for label in task.labels}
    assert [channel.name for channel in bundle.model.channels] == [each.name for each in task.channels]
    with Server() as server:
        monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "installed"))
        monkeypatch.setenv("MEDNEXT_CATALOG_URL", put_online(server, tmp_path / "release"))
        scores = dice_in_the_panel(scene, show_panel, trees.new_patient(challenge), structures)
    logging.getLogger(__name__).info("%s: Dice %s", challenge, scores)
    assert min(scores.values()) >= 0.9, scores

    capsys.readouterr()
    assert cli.main(["--workspace", str(tmp_path / "runs"), *words]) == 0  # all is done
    assert capsys.readouterr().out == f"The model: {model}\n"


def assert_published(release: Path) -> None:
    """The zip and its entry are there, beside the models that the catalog had, and nothing else is."""
    catalog = read_catalog(release / "catalog.json")
    published = catalog.model("mine")
    assert published is not None and published.download is not None
    (url,) = published.download.urls
    archive = release / url.removeprefix(RELEASE)
    assert archive.stat().st_size == published.download.bytes
    assert catalog.model("hippocampus") is not None
    assert sorted(path.name for path in release.iterdir()) == sorted(["catalog.json", archive.name])


def put_online(server: Server, release: Path) -> str:
    """Upload a release; the address of its catalog."""
    for file in release.glob("*.zip"):
        server.answer(f"/{file.name}", serve(file.read_bytes()))
    catalog = (release / "catalog.json").read_text(encoding="utf-8").replace(RELEASE, f"{server.address}/")
    return server.answer("/catalog.json", serve(catalog.encode()))


def dice_in_the_panel(
    scene: Any, show_panel: Any, patient: trees.Phantom, structures: Mapping[str, Structure]
) -> dict[str, float]:
    """Download the model "mine" in the panel, segment a patient there, and compare each structure."""
    from fixtures.panel.driving import MODULE, choose, selector, set_option
    from fixtures.panel.driving import segment as press_segment
    from fixtures.scene.segmentation_nodes import by_name, voxels
    from fixtures.scene.volume_nodes import add_volume
    from mednext.library.catalog_source import load_catalog

    load_catalog(refresh=True)
    panel = show_panel(MODULE)[1]
    choose(panel, "mine")
    if panel.ui.termsBox.visible:  # those of the challenge's data
        panel.ui.termsBox.click()
    panel.ui.downloadButton.click()
    let_work(lambda: panel.panel.weightsView.command.running)
    assert not panel.ui.weightsErrorLabel.visible, panel.ui.weightsErrorLabel.text
    assert panel.ui.taskBox.currentData == "mine" and not panel.ui.weightsGroup.visible
    volumes = [
        add_volume(scene, image, patient.geometry.ijk_to_ras, f"image {number}")
        for number, image in enumerate(patient.images)
    ]
    for number, volume in enumerate(volumes):
        selector(panel, number).setCurrentNode(volume)
    set_option(panel.ui.deviceBox, "cpu")
    node = press_segment(panel)
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    found = {each.GetName(): each.GetTerminology() for each in segments}
    scores = {}
    for name, (terminology, values) in structures.items():
        assert terminology is not None and found[name] == terminology.entry()
        segment = voxels(node, by_name(node, name), volumes[0]).astype(bool)
        scores[name] = dice(np.isin(patient.labels, values), segment)
    return scores


def let_work(busy: Callable[[], bool]) -> None:
    """Run the panel's event loop while the engine's command runs."""
    import slicer
    import slicer_standin

    end = time.monotonic() + PATIENCE_S
    while busy():
        assert time.monotonic() < end
        slicer.app.processEvents()
        slicer_standin.rest(0.01)


def test_finished_steps_are_not_run_again_until_the_source_changes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "image").write_bytes(b"1")
    recipe = Recipe(("btcv", str(source)), "Dataset017_BTCV", BUDGETS["paper"], tmp_path / "model")
    commands = commands_of(recipe)
    run: list[Command] = []

    def stop_at_third(command: Command) -> None:
        if len(run) == 2:
            raise KeyboardInterrupt
        run.append(command)

    workspace = Workspace(tmp_path / "runs")
    workspace.root.mkdir()
    with pytest.raises(KeyboardInterrupt):
        reproduce(recipe, [source], workspace, stop_at_third)
    reproduce(recipe, [source], workspace, run.append)
    assert run == commands
    reproduce(recipe, [source], workspace, run.append)
    assert run == commands
    (source / "image").write_bytes(b"12")
    reproduce(recipe, [source], workspace, run.append)
    assert run == [*commands, *commands]


def test_a_state_that_cannot_be_read_lets_all_commands_run(tmp_path: Path) -> None:
    recipe = Recipe(("btcv", str(tmp_path)), "Dataset017_BTCV", BUDGETS["tiny"], tmp_path / "model")
    for text in ("{", "[]", '{"source": 1}'):
        (tmp_path / "reproduce_Dataset017_BTCV.json").write_text(text)
        run: list[Command] = []
        reproduce(recipe, [], Workspace(tmp_path), run.append)
        assert run == commands_of(recipe)


def test_the_papers_budget_begins_kernel_5_with_the_weights_of_kernel_3(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["reproduce", "brats21", str(tmp_path), "--budget", "paper", "--folds", "2", "--show"]
    assert cli.main(["--workspace", str(tmp_path / "runs"), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in lines:
        cli.command_parser().parse_args(shlex.split(line)[1:])  # as it is pasted into a shell
    trainings = [line for line in lines if " train " in line]
    assert [line.partition("--variant ")[2] for line in trainings] == [
        "L --kernel 3 --fold 2",
        "L --kernel 5 --upkern --fold 2",
    ]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "told"), [("--regions", "train its labels"), ("--with-mr", "Only AMOS22")]
)
def test_an_option_that_the_challenge_has_not_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture, option: str, told: str
) -> None:
    words = ["reproduce", "kits19", str(tmp_path), "--budget", "paper", option]
    assert cli.main(["--workspace", str(tmp_path / "runs"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("more", "told"), [([], "needs --url"), (["--url", "C:/x"], "is no address")])
def test_a_publication_needs_its_address(
    tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], told: str
) -> None:
    words = ["reproduce", "brats21", str(tmp_path), "--budget", "paper", "--publish", str(tmp_path / "x")]
    with pytest.raises(SystemExit, match="2"):
        raise SystemExit(cli.main(["--workspace", str(tmp_path / "runs"), *words, *more]))
    assert told in capsys.readouterr().err
