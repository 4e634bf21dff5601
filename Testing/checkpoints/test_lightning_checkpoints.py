"""Checkpoints of Lightning are read without its classes: settings are passed over, attacks are refused."""

from __future__ import annotations

import argparse
import functools
import os
import pickle
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_weights
from fixtures.models.results_folders import assert_same_output, write_description
from mednext.checkpoints import ImportOptions, import_checkpoint
from mednext.checkpoints.pickles.reading import load_pickle, load_torch
from mednext.errors import CheckpointError, UnsafeCheckpointError
from torch import nn

WEIGHTS = tiny_weights(TINY_NETWORK)
BUILT: list[str] = []


class AttributeDict(dict[str, Any]):
    """Stands for the class of Lightning: a dictionary with attributes."""

    def __setstate__(self, state: Any) -> None:
        BUILT.append("state")

    def __setitem__(self, key: str, value: Any) -> None:
        BUILT.append(key)
        super().__setitem__(key, value)


class Config:
    """Stands for the settings class of a stranger's project."""

    def __init__(self) -> None:
        self.depth, self.inner = 3, [self]

    def __setstate__(self, state: Any) -> None:
        BUILT.append("config")


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the two classes the names under which the programs would pickle them."""
    BUILT.clear()
    for kind, module in ((AttributeDict, "lightning.fabric.utilities.data"), (Config, "src.settings")):
        made = a_module(module, monkeypatch)
        monkeypatch.setattr(made, kind.__name__, kind, raising=False)
        monkeypatch.setattr(kind, "__module__", module)


def a_module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An empty module of this name, with its packages."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        path = ".".join(parts[:length])
        monkeypatch.setitem(sys.modules, path, ModuleType(path))
    return sys.modules[name]


def lightning(**changes: Any) -> dict[str, Any]:
    """A checkpoint as `Trainer.save_checkpoint` of Lightning 2 makes it."""
    settings = AttributeDict({"lr": 1e-3, "kernel": 3})
    return {
        "epoch": 299,
        "global_step": 75000,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict(
            {
                **{f"model.{name}": value for name, value in WEIGHTS.items()},
                "loss_fn.weight": torch.ones(3),
                "val_metrics.dice.total": torch.zeros(1),
            }
        ),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 300}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_dice'}": {
                "best_model_score": torch.tensor(0.9),
                "best_model_path": Path("last.ckpt"),
                "kth_value": torch.tensor(0.8),
            }
        },
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [defaultdict(int, last_epoch=299)],
        "hparams_name": "kwargs",
        "hyper_parameters": settings,
        "settings": Config(),
        "args": argparse.Namespace(folder=Path("/data"), names=["a"]),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": functools.partial(torch.optim.AdamW, lr=1e-3),
        **changes,
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_the_weights_are_imported_and_no_class_is_built(tmp_path: Path, zipped: bool) -> None:
    torch.save(lightning(), tmp_path / "last.ckpt", _use_new_zipfile_serialization=zipped)
    BUILT.clear()
    options = ImportOptions(description=write_description(tmp_path / "description.json"), half=False)
    bundle = import_checkpoint(tmp_path / "last.ckpt", tmp_path / "model", options)
    assert_same_output(bundle, 0, TINY_NETWORK, WEIGHTS)
    assert not BUILT
    told = bundle.model.description
    assert "Not read, as only the training program knows their classes: best_model_path (pathlib" in told
    assert "Left out, as only a training uses them: loss_fn.weight, val_metrics.dice.total." in told


def test_entries_of_unknown_classes_are_left_out_and_the_others_stay(tmp_path: Path) -> None:
    torch.save(lightning(), tmp_path / "last.ckpt")
    BUILT.clear()
    removed: list[str] = []
    found = load_torch(tmp_path / "last.ckpt", removed)
    gone = {"hyper_parameters", "settings", "args", "loss", "optimizer", "lr_schedulers"}
    assert not gone & set(found)
    assert {name.split(" ")[0] for name in removed} == gone | {"best_model_path"}
    assert found["callbacks"]["ModelCheckpoint{'monitor': 'val_dice'}"]["best_model_score"] == 0.9
    assert found["optimizer_states"][0]["param_groups"] == [{"lr": 1e-3}]
    assert not BUILT


def test_the_settings_classes_of_python_are_passed_over_in_any_file(tmp_path: Path) -> None:
    settings = {"args": argparse.Namespace(lr=1), "space": SimpleNamespace(x=1), "path": Path("a")}
    torch.save({"model": WEIGHTS, **settings}, tmp_path / "w.pt")
    assert load_torch(tmp_path / "w.pt").keys() == {"model"}


def test_strangers_classes_are_refused_in_files_that_are_not_of_lightning(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "settings": Config()}, tmp_path / "w.pt")
    with pytest.raises(UnsafeCheckpointError, match=r"src\.settings\.Config"):
        load_torch(tmp_path / "w.pt")


def test_plans_may_not_have_settings_of_other_classes(tmp_path: Path) -> None:
    (tmp_path / "plans.pkl").write_bytes(pickle.dumps({"a": argparse.Namespace()}))
    with pytest.raises(UnsafeCheckpointError, match=r"argparse\.Namespace"):
        load_pickle(tmp_path / "plans.pkl")


class Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        (os.system, "true"),
        (eval, "1"),
        (exec, "1"),
        (getattr, "", "upper"),
        (functools.reduce, max, [1]),
        (torch.hub.load, "a", "b"),
        (torch.load, "x"),
        (pickle.loads, b""),
        (print, "x"),
    ],
    ids=lambda attack: attack[0].__name__,
)
def test_an_attack_in_a_file_of_lightning_is_refused(tmp_path: Path, attack: tuple[Any, ...]) -> None:
    torch.save(lightning(hyper_parameters=Attack(*attack)), tmp_path / "last.ckpt")
    with pytest.raises(UnsafeCheckpointError, match="Nothing of it was run"):
        load_torch(tmp_path / "last.ckpt")


def test_a_function_of_a_strangers_package_is_never_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = a_module("evil.code", monkeypatch)
    exec("def attack(built):\n    built.append('attack')\n    return built\n", module.__dict__)
    torch.save(lightning(hyper_parameters=Attack(module.attack, [])), tmp_path / "last.ckpt")
    monkeypatch.delitem(sys.modules, "evil.code")
    assert "hyper_parameters" not in load_torch(tmp_path / "last.ckpt")
    assert "evil.code" not in sys.modules


def test_a_whole_model_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save({"pytorch-lightning_version": "2.4.0", "state_dict": Config()}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="holds no weights of a MedNeXt"):
        import_checkpoint(
            tmp_path / "last.ckpt",
            tmp_path / "model",
            ImportOptions(description=write_description(tmp_path / "description.json")),
        )


def test_weights_that_are_objects_of_unknown_classes_are_missed(tmp_path: Path) -> None:
    state = {**lightning()["state_dict"], "model.stem.bias": Config()}
    torch.save(lightning(state_dict=state), tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"stem\.bias are missing"):
        import_checkpoint(
            tmp_path / "last.ckpt",
            tmp_path / "model",
            ImportOptions(description=write_description(tmp_path / "description.json")),
        )
