"""Bundles are written completely or not at all, and changed ones are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model, tiny_weights
from mednext.errors import (
    BundleFormatError,
    BundleIntegrityError,
    OptionError,
    OutputError,
    UnknownModelError,
    UnsafePathError,
)
from mednext.library.model_by_name import load_bundle
from mednext.model.bundle import Bundle, write_bundle
from mednext.system.file_names import inside
from safetensors.torch import save

WEIGHTS = "fold_0.safetensors"


def rewrite(bundle: Bundle, state: dict[str, torch.Tensor]) -> Bundle:
    """Replace the weights of fold 0, with a hash that fits."""
    import hashlib

    data = save(state)
    (bundle.path / WEIGHTS).write_bytes(data)
    file = bundle.path / "model.json"
    description = json.loads(file.read_text())
    description["folds"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    file.write_text(json.dumps(description))
    return load_bundle(bundle.path)


def test_a_written_bundle_is_read_back_unchanged(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", folds=(0, 2), half=False)
    again = load_bundle(tmp_path / "tiny")
    assert again == bundle
    for fold in (0, 2):
        state = again.network(fold).state_dict()
        expected = tiny_weights(seed=fold)
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_half_precision_is_loaded_as_single(tmp_path: Path) -> None:
    network = tiny_bundle(tmp_path / "tiny", half=True).network(0)
    expected = tiny_weights()
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name].half().float())


def test_a_loaded_network_is_ready_to_predict(tmp_path: Path) -> None:
    network = tiny_bundle(tmp_path / "tiny").network(0)
    assert not network.training
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
    assert network(torch.zeros(1, 1, 16, 32, 32)).shape == (1, 3, 16, 32, 32)


def test_a_path_is_accepted_as_text_and_as_path(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    assert load_bundle(str(tmp_path / "tiny")) == load_bundle(tmp_path / "tiny") == bundle


def test_a_name_is_looked_up_among_the_installed_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path))
    bundle = tiny_bundle(tmp_path / "tiny")
    assert load_bundle("tiny") == bundle


def test_an_installed_model_takes_precedence_over_a_folder_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path / "installed"))
    tiny_bundle(tmp_path / "here" / "tiny", version="2.0.0")
    monkeypatch.chdir(tmp_path / "here")
    assert load_bundle("tiny").model.version == "2.0.0"
    tiny_bundle(tmp_path / "installed" / "tiny", version="1.0.0")
    assert load_bundle("tiny").model.version == "1.0.0"
    assert load_bundle("./tiny").model.version == "2.0.0"


def test_an_unknown_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDNEXT_MODELS", str(tmp_path))
    with pytest.raises(UnknownModelError, match="'nothing'"):
        load_bundle("nothing")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="There is no folder"):
        load_bundle(tmp_path / "nothing")


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:], lambda data: data[:-1]],
    ids=["one flipped bit", "truncated"],
)
def test_changed_weights_are_refused_before_they_are_used(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    (bundle.path / WEIGHTS).write_bytes(change((bundle.path / WEIGHTS).read_bytes()))
    with pytest.raises(BundleIntegrityError, match="damaged or were changed"):
        load_bundle(bundle.path).network(0)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    (bundle.path / WEIGHTS).unlink()
    with pytest.raises(BundleIntegrityError, match="cannot be read"):
        bundle.network(0)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    state = tiny_weights()
    state["stem.bias"] = torch.zeros(7)
    bundle = rewrite(tiny_bundle(tmp_path / "tiny"), state)
    with pytest.raises(BundleIntegrityError, match=r"stem\.bias has the shape \(7,\) and must have \(4,\)"):
        bundle.network(0)


@pytest.mark.parametrize("name", ["stem.bias", "out_1.conv_out.bias"])
def test_missing_and_surplus_weights_are_refused(tmp_path: Path, name: str) -> None:
    state = tiny_weights()
    if name in state:
        del state[name]
    else:
        state[name] = torch.zeros(3)
    bundle = rewrite(tiny_bundle(tmp_path / "tiny"), state)
    with pytest.raises(BundleIntegrityError, match=name):
        bundle.network(0)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = tiny_weights()
    state["stem.bias"][0] = torch.nan
    bundle = rewrite(tiny_bundle(tmp_path / "tiny"), state)
    with pytest.raises(BundleIntegrityError, match=r"stem\.bias has values that are not finite"):
        bundle.network(0)


def test_weights_that_are_whole_numbers_are_refused(tmp_path: Path) -> None:
    state = tiny_weights()
    state["stem.bias"] = torch.zeros(4, dtype=torch.int32)
    bundle = rewrite(tiny_bundle(tmp_path / "tiny"), state)
    with pytest.raises(BundleIntegrityError, match=r"stem\.bias"):
        bundle.network(0)


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    import hashlib

    bundle = tiny_bundle(tmp_path / "tiny")
    (bundle.path / WEIGHTS).write_bytes(b"garbage")
    fold = replace(bundle.model.folds[0], sha256=hashlib.sha256(b"garbage").hexdigest())
    with pytest.raises(BundleIntegrityError, match="not a safetensors file"):
        Bundle(bundle.path, replace(bundle.model, folds=(fold,))).network(0)


def test_weights_that_are_a_link_out_of_the_bundle_are_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    (bundle.path / WEIGHTS).rename(tmp_path / "elsewhere")
    (bundle.path / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError, match="outside of its folder"):
        bundle.network(0)


def test_an_unknown_fold_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", folds=(0, 3))
    with pytest.raises(OptionError, match="no fold 1: choose among 0, 3"):
        bundle.network(1)


def test_a_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny", folds=(0, 1))
    tiny_bundle(tmp_path / "tiny", folds=(2,))
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [
        "fold_2.safetensors",
        "model.json",
    ]


def test_a_failed_write_leaves_the_old_bundle_and_nothing_else(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    weights = tiny_weights()
    del weights["stem.bias"]
    with pytest.raises(BundleIntegrityError, match=r"stem\.bias"):
        write_bundle(tmp_path / "tiny", tiny_model(), {0: weights})
    assert list(tmp_path.iterdir()) == [tmp_path / "tiny"]
    assert load_bundle(tmp_path / "tiny") == bundle
    bundle.network(0)


def test_a_description_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    model = tiny_model(network=replace(TINY_NETWORK, num_classes=5))
    with pytest.raises(BundleFormatError, match="5 output channels"):
        write_bundle(tmp_path / "tiny", model, {0: tiny_weights(model.network)})
    assert not list(tmp_path.iterdir())


def test_weights_too_large_for_half_precision_are_not_written(tmp_path: Path) -> None:
    weights = tiny_weights()
    weights["stem.bias"][0] = 1e5
    with pytest.raises(BundleIntegrityError, match=r"stem\.bias .* with 16 bits"):
        write_bundle(tmp_path / "tiny", tiny_model(), {0: weights}, half=True)
    write_bundle(tmp_path / "tiny", tiny_model(), {0: weights}, half=False)


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_bundle(tmp_path / "file" / "tiny", tiny_model(), {0: tiny_weights()})


def test_a_bundle_without_weights_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no weights"):
        write_bundle(tmp_path / "tiny", tiny_model(), {})


def test_a_folder_that_is_not_a_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "will.txt").write_text("my last will")
    with pytest.raises(OutputError, match="is not a model"):
        tiny_bundle(tmp_path / "letters")
    assert (tmp_path / "letters" / "will.txt").read_text() == "my last will"


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/etc/passwd", "C:\\a", "C:a", "\\\\server\\a", "a\\b", "", ".", "a\0b", "/"],
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePathError, match="does not stay in its folder"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["a", "a/b.json", "..a", "a..b", "fold_0.safetensors"])
def test_names_that_stay_in_the_folder_are_accepted(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


def test_reading_descriptions_needs_no_torch() -> None:
    code = "import sys, mednext.model.bundle, mednext.model.labels; sys.exit('torch' in sys.modules)"
    path: Any = {"PYTHONPATH": str(Path(inside.__code__.co_filename).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=path, check=False).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_in_the_working_folder_do_not_matter_to_a_bundle(tmp_path, monkeypatch):
    bundle, here = tiny_bundle(tmp_path / "tiny"), tmp_path / "here"
    here.mkdir()
    for name in ("fold_0.safetensors", "model.json"):
        (here / name).symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(here)
    assert load_bundle(bundle.path).network(0)
