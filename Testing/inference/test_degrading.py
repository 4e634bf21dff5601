"""Each way to go on with less: the same labels, told at once, in the provenance and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.machines.apple_gpu import attempts
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle
from mednext.cli import main
from mednext.errors import OutOfMemoryError
from mednext.images.formats.image_files import write_image
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference import preprocessing
from mednext.inference.preprocessing import preprocess
from mednext.inference.segment import segment
from mednext.model.bundle import Bundle
from mednext.network import formulation, lean, native
from mednext.network.candidate import Formulation
from mednext.network.lean import LeanMedNeXt
from torch import nn

SIZE = (40, 30, 24)

Inject = Callable[[pytest.MonkeyPatch], object]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", mirror_axes=())


def volume() -> Volume:
    array = np.random.default_rng(0).normal(500, 200, (1, *SIZE[::-1])).astype(np.float32)
    return Volume(array, Geometry(SIZE, (1.1, 1.0, 1.0)))


def full_while_preprocessing(patch: pytest.MonkeyPatch) -> None:
    def fail(volume, model, device=preprocessing.CPU):
        if device.type != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return preprocess(volume, model, device)

    patch.setattr(preprocessing, "preprocess", fail)


def full_while_predicting(*places: tuple[str, str]) -> Inject:
    """The devices of networks and sums with which memory runs out after the first block."""
    return lambda patch: attempts(patch, places)


MOVED, ON_CPU = "a part of the work moved to the computer's memory", "the networks ran on the CPU"
CARD = {
    "preprocessing": (full_while_preprocessing, [MOVED]),
    "sums": (full_while_predicting(("mps", "mps")), [MOVED]),
    "networks": (full_while_predicting(("mps", "mps"), ("mps", "cpu")), [MOVED, ON_CPU]),
}


@pytest.mark.usefixtures("_card")
@pytest.mark.parametrize("rung", CARD)
def test_a_card_without_memory_hands_over_a_part_of_its_work_and_says_so(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    rung: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = segment(volume(), bundle, device="cpu").labelmap
    inject, remarks = CARD[rung]
    inject(monkeypatch)
    assert_told_everywhere(bundle, expected, remarks, tmp_path, capsys)


def assert_told_everywhere(
    bundle: Bundle,
    expected: np.ndarray,
    remarks: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the progress, which panel and console show, by the provenance, and by the command line."""
    told: list[str] = []
    found = segment(volume(), bundle, progress=lambda now: told.append(now.remark))
    said = [remark for remark in told if remark]
    assert len(said) == len(remarks)
    assert all(remark in one for remark, one in zip(remarks, said, strict=True))
    assert found.provenance["warning"] == " ".join(said)
    assert (found.labelmap != expected).mean() < 1e-3  # other orders of the same sums
    write_image(folder / "T1.nii.gz", volume().array[0], volume().geometry)
    output = str(folder / "out.seg.nrrd")
    assert (
        main(["segment", str(folder / "T1.nii.gz"), "-o", output, "--model", str(bundle.path), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["warning"] == " ".join(said)


class Failing(nn.Module):
    """A formulation that fails in the middle of a run."""

    def __init__(self, network: nn.Module, error: Exception) -> None:
        super().__init__()
        self._network, self._error, self._left = network, error, 4  # the comparison and a tile

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return self._network(x)


@pytest.fixture
def native_fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Let the native kernels raise an error in the middle of each run."""

    def plan(error: Exception) -> None:
        def offer(network, _device, _precision):
            return [Formulation("native", lambda: Failing(LeanMedNeXt(network), error), frugal=True)]

        monkeypatch.setattr(formulation, "OFFERS", (offer, lean.offer))
        monkeypatch.setattr(formulation, "is_faster", lambda *_: True)

    return plan


def test_native_kernels_that_fail_in_the_middle_are_replaced_by_the_lean_network(
    bundle: Bundle,
    native_fails: Callable[[Exception], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = segment(volume(), bundle, device="cpu")
    native_fails(RuntimeError("an exception of C++"))
    remark = "failed (native) and was replaced by a slower one (lean), with the same result"
    assert_told_everywhere(bundle, expected.labelmap, [remark], tmp_path, capsys)


def test_native_kernels_without_memory_are_not_replaced_by_a_network_that_needs_more(
    bundle: Bundle, native_fails: Callable[[Exception], None]
) -> None:
    native_fails(MemoryError("The native kernels ran out of memory."))
    with pytest.raises(OutOfMemoryError, match="not enough memory to segment"):
        segment(volume(), bundle, device="cpu")


def test_the_lean_network_follows_the_native_one(native_kernels: None) -> None:
    network = TINY_NETWORK.build().eval()
    if native.native_library() is None:
        pytest.skip("the native library is not built")
    names = [one.name for one in formulation.formulations(network, torch.device("cpu"), "float32")]
    assert names == ["native", "lean"]
