"""A real card: the kernels as compiled, the CUDA graph, preprocessing there, and memory that is too small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.models.bundles import tiny_bundle, tiny_model
from mednext.images.geometry import Geometry, reorient_array
from mednext.images.volume import Volume
from mednext.inference import prediction
from mednext.inference.device_transfer import Download, Upload
from mednext.inference.preprocessing import preprocess
from mednext.inference.segment import segment
from mednext.model.description import Channel
from mednext.network.formulation import FastNetwork
from mednext.network.mednext import MedNeXt
from mednext.network.triton import TritonMedNeXt, is_supported
from mednext_training.network.triton_blocks import use_triton_kernels
from torch import Tensor

DEVICE = torch.device("cuda")
TOLERANCES = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}  # relative, of all logits

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@pytest.fixture(autouse=True)
def _plain_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge computes in float32, not in the tensor cores' shorter one."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def network(name: str = "S", kernel_size: int = 3) -> MedNeXt:
    torch.manual_seed(0)
    return MedNeXt.variant(name, 1, 14, kernel_size=kernel_size).eval().to(DEVICE)


def cube(side: int, count: int = 1) -> Tensor:
    return torch.randn(count, 1, side, side, side, generator=torch.Generator().manual_seed(1)).to(DEVICE)


def relative_difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("name", "kernel_size", "side"), [("S", 3, 64), ("S", 3, 128), ("B", 3, 64), ("L", 3, 64), ("L", 5, 64)]
)
@torch.inference_mode()
def test_the_kernels_give_the_logits_of_the_reference(
    name: str, kernel_size: int, side: int, dtype: torch.dtype
) -> None:
    plain = network(name, kernel_size)
    if not is_supported(plain, DEVICE):
        pytest.skip("the kernels do not run on this card")
    x = cube(side)
    fast = TritonMedNeXt(plain, dtype, DEVICE)
    assert relative_difference(fast(x), plain(x)) < TOLERANCES[dtype]


@torch.inference_mode()
def test_the_graph_gives_the_same_bits_as_the_launches() -> None:
    fast = TritonMedNeXt(network(), torch.float16, DEVICE)
    x = cube(64)
    launched, replayed = fast(x), fast(x)
    assert fast.has_graph
    assert torch.equal(launched, replayed)


@torch.inference_mode()
def test_a_formulation_is_chosen_before_the_first_tiles_are_put_together() -> None:
    fast = FastNetwork(network())
    assert fast.images_at_once((64, 64, 64)) > 1
    assert fast.formulation == "Triton"


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_training_step_has_torchs_gradients(kernel: int) -> None:
    """`use_triton_kernels` compares them."""
    plain = MedNeXt.variant("S", 1, 3, kernel_size=kernel, deep_supervision=True).to(DEVICE)
    assert use_triton_kernels(plain, DEVICE)


@torch.inference_mode()
def test_images_and_labels_travel_while_the_card_computes() -> None:
    image = torch.randn(2, 40, 32, 32)
    upload, download = Upload(image, DEVICE), Download()
    found = np.zeros((2, 40, 32, 32), dtype=np.float32)
    for row in (8, 24, 40):
        device_image = upload.up_to(row)
        download.begin(device_image[:, :row] * 2, found[:, :row])
    download.finish()
    np.testing.assert_array_equal(found, 2 * image.numpy())


@torch.inference_mode()
def test_another_shape_gets_its_own_graph() -> None:
    plain = network()
    fast = TritonMedNeXt(plain, torch.float16, DEVICE)
    for side in (64, 32, 64):
        for _ in range(2):
            x = cube(side)
            assert relative_difference(fast(x), plain(x)) < TOLERANCES[torch.float16]


@torch.inference_mode()
def test_networks_of_two_folds_take_turns_in_the_same_memory() -> None:
    folds = [network(), network()]
    folds[1].get_parameter("stem.weight").mul_(-1)
    x = cube(64)
    fast = [TritonMedNeXt(plain, torch.float16, DEVICE) for plain in folds]
    for _ in range(3):
        for one, plain in zip(fast, folds, strict=True):
            assert relative_difference(one(x), plain(x)) < TOLERANCES[torch.float16]
    assert fast[0].has_graph and fast[1].has_graph


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device here")
@torch.inference_mode()
def test_a_second_card_gives_the_same_logits_after_a_graph_of_the_first() -> None:
    plain, x = network(), cube(64)
    expected = plain(x)
    for device in (DEVICE, torch.device("cuda:1")):
        fast = TritonMedNeXt(plain, torch.float16, device)
        for _ in range(2):
            assert relative_difference(fast(x).to(DEVICE), expected) < TOLERANCES[torch.float16]
        assert fast.has_graph


@torch.inference_mode()
def test_when_memory_runs_out_fewer_tiles_are_taken_at_once() -> None:
    fast = TritonMedNeXt(network(), torch.float16, DEVICE)
    x = cube(64, count=16)
    expected = torch.cat([fast(image[None]) for image in x])
    one = torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    with room(one + 2**28):
        together = fast(x)
    assert relative_difference(together, expected) < TOLERANCES[torch.float16]


@contextmanager
def room(size: int) -> Iterator[None]:
    """Within the block this process gets so many bytes of the card's memory."""
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(size / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def scan(side: int = 96) -> Volume:
    """Random tissue in a margin of zeros, int16, stored along other axes than the model's."""
    array = np.random.default_rng(0).integers(-200, 900, (1, side, side + 8, side + 16), dtype=np.int16)
    array[:, :7], array[..., -5:] = 0, 0
    geometry = Geometry(array.shape[:0:-1], (0.8, 0.9, 1.5))
    return Volume(*reorient_array(array, geometry, "SAR"))


CHANNELS = [
    Channel("CT", "CT", "ct", mean=40.0, std=150.0, lower=-400.0, upper=400.0),
    *(Channel("T1", "MR", kind) for kind in ("zscore", "zscore_masked", "rescale")),
]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("allowed", ["highest", "high", "medium"])
@torch.inference_mode()
def test_the_card_preprocesses_as_the_cpu_also_where_tf32_is_allowed(channel: Channel, allowed: str) -> None:
    model = tiny_model(channels=(channel,), spacing=(1.0, 1.1, 1.2))
    expected = preprocess(scan(), model).array
    torch.set_float32_matmul_precision(allowed)
    try:
        found = preprocess(scan(), model, DEVICE).array
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@torch.inference_mode()
def test_voxels_of_many_pieces_arrive_whole_beside_other_work() -> None:
    voxels = torch.randint(-1000, 3000, (2, 70, 512, 512), dtype=torch.int16)
    busy = torch.randn(4096, 4096, device=DEVICE)
    for _ in range(20):
        busy = busy @ busy / 4096
    upload = Upload(voxels, DEVICE)
    for row in (1, 40, 70):
        assert torch.equal(upload.up_to(row)[:, :row].cpu(), voxels[:, :row])


def test_a_scan_is_segmented_on_the_card_as_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", mirror_axes=())
    expected = segment(scan(), bundle, device="cpu", uncertainty=True)
    images = []
    original = prediction.slide

    def look(image: Tensor, *others: object) -> object:
        images.append(image.device.type)
        return original(image, *others)

    monkeypatch.setattr(prediction, "slide", look)
    found = segment(scan(), bundle, device="cuda", uncertainty=True)
    assert images == ["cuda"]
    assert (found.labelmap == expected.labelmap).mean() > 0.99  # half precision, random weights
    assert found.uncertainty is not None and expected.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=2e-2)


def test_a_card_without_room_for_preprocessing_leaves_it_to_the_cpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny", mirror_axes=())
    volume = scan(256)
    expected = segment(volume, bundle, device="cuda")
    torch.cuda.empty_cache()
    with room(torch.cuda.memory_allocated() + 2**26):
        found = segment(volume, bundle, device="cuda")
    assert "was full" in caplog.text
    assert (found.labelmap == expected.labelmap).mean() > 0.99
