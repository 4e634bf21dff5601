"""Foreign pickles may build numbers, texts, containers and arrays; no other code of them ever runs."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.models.results_folders import write_v1_folder, write_v2_folder
from mednext.checkpoints import ImportOptions, import_checkpoint
from mednext.checkpoints.pickles.reading import load_pickle, load_torch
from mednext.errors import CheckpointError, UnsafeCheckpointError

OPTIONS = ImportOptions(orientation="RAS", labels={1: "spleen", 2: "liver"})
PLAIN: dict[str, Any] = {"array": np.arange(6.0).reshape(2, 3)}


class Attack:
    """Unpickling this calls `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def write_marker(path: str) -> None:
    """Act as an attacker's own class would."""
    Path(path).write_text("harmed")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture(params=["os.system", "eval", "own class"])
def attack(request: pytest.FixtureRequest, marker: Path) -> Attack:
    """A harmless attack that leaves a marker file when it runs."""
    attacks = {
        "os.system": Attack(os.system, f"echo harmed > {marker}"),
        "eval": Attack(eval, f"open({str(marker)!r}, 'w').close()"),
        "own class": Attack(write_marker, str(marker)),
    }
    return attacks[request.param]


def test_the_attacks_would_work_on_a_careless_reader(attack: Attack, marker: Path) -> None:
    pickle.loads(pickle.dumps(attack))  # noqa: S301
    assert marker.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, attack: Attack, marker: Path, protocol: int
) -> None:
    path = tmp_path / "plans.pkl"
    path.write_bytes(pickle.dumps({"plans": [attack]}, protocol=protocol))
    with pytest.raises(UnsafeCheckpointError, match=r"Nothing of it was run"):
        load_pickle(path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_malicious_checkpoint_is_refused_and_not_run(
    tmp_path: Path, attack: Attack, marker: Path, protocol: int, zipped: bool
) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(1), "x": attack}, path, pickle, protocol, zipped)
    with pytest.raises(UnsafeCheckpointError, match=r"Nothing of it was run"):
        load_torch(path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_malicious_pickle_in_place_of_a_checkpoint_is_refused(
    tmp_path: Path, attack: Attack, marker: Path, protocol: int
) -> None:
    path = tmp_path / "model_final_checkpoint.model"
    path.write_bytes(pickle.dumps(attack, protocol=protocol))
    with pytest.raises(UnsafeCheckpointError):
        load_torch(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "file", ["plans.pkl", "fold_0/model_final_checkpoint.model", "fold_0/model_final_checkpoint.model.pkl"]
)
def test_a_malicious_v1_folder_is_not_imported(
    tmp_path: Path, attack: Attack, marker: Path, file: str
) -> None:
    write_v1_folder(tmp_path / "v1")
    path = tmp_path / "v1" / file
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"plans": attack, "name": "x"}))
    else:
        torch.save({"state_dict": attack}, path)
    with pytest.raises(UnsafeCheckpointError):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", OPTIONS)
    assert not marker.exists()
    assert not (tmp_path / "model").exists()


def test_a_malicious_v2_folder_is_not_imported(tmp_path: Path, attack: Attack, marker: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    path = tmp_path / "v2" / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    torch.save({**checkpoint, "logging": attack}, path)
    with pytest.raises(UnsafeCheckpointError):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", OPTIONS)
    assert not marker.exists()
    assert not (tmp_path / "model").exists()


def test_a_pickle_may_not_reach_into_an_allowed_module(tmp_path: Path) -> None:
    path = tmp_path / "plans.pkl"
    path.write_bytes(b"cnumpy\nload\n(S'/etc/passwd'\ntR.")
    with pytest.raises(UnsafeCheckpointError, match=r"numpy\.load"):
        load_pickle(path)


def test_a_pickle_may_not_import_a_codec(tmp_path: Path) -> None:
    path = tmp_path / "plans.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vtext\nVidna\ntR.")
    with pytest.raises(CheckpointError, match="idna"):
        load_pickle(path)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04\x95", pickle.dumps(PLAIN)[:-20]])
def test_a_file_that_is_not_a_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plans.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"plans\.pkl is truncated or not a pickle"):
        load_pickle(path)


def test_plans_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    endless: dict[str, Any] = {}
    endless["plans"] = endless
    (tmp_path / "v1" / "plans.pkl").write_bytes(pickle.dumps(endless))
    with pytest.raises(CheckpointError, match="without end"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", OPTIONS)


@pytest.mark.parametrize("kept", [0, 100, 2000, -40])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"weights\.pth"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_torch(path)


@pytest.mark.parametrize("load", [load_pickle, load_torch])
def test_a_missing_file_is_refused(tmp_path: Path, load: Callable[[Path], Any]) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path / "nothing")
