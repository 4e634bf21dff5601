"""A faster formulation is used where it is right, and skipped where it is missing, wrong or broken."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest
import torch
from mednext.errors import OptionError
from mednext.network import formulation, native, triton
from mednext.network.candidate import Formulation
from mednext.network.formulation import FastNetwork, formulations
from mednext.network.mednext import MedNeXt
from torch import Tensor, nn

measured_is_faster = formulation.is_faster

IMAGE = torch.randn(1, 2, 16, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network() -> MedNeXt:
    torch.manual_seed(0)
    return MedNeXt(2, 3, expansion=(2,) * 9, blocks=(1,) * 9, channels=8).eval()


@pytest.fixture(autouse=True)
def always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the speed of the machine."""
    monkeypatch.setattr(formulation, "is_faster", lambda *_: True)


@pytest.fixture
def with_kernels(monkeypatch: pytest.MonkeyPatch, native_kernels: object) -> None:
    monkeypatch.setattr(native, "native_library", lambda: native_kernels)


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "native_library", lambda: None)


def offer(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[MedNeXt], nn.Module], frugal: bool = False
) -> None:
    """Offer one formulation, preferred to all others."""
    monkeypatch.setattr(
        formulation,
        "formulations",
        lambda network, *_: [Formulation("planted", lambda: make(network), frugal=frugal)],
    )


@torch.inference_mode()
def difference(fast: FastNetwork, network: MedNeXt, image: Tensor = IMAGE) -> float:
    expected = network(image)
    assert isinstance(expected, Tensor)
    return float((fast(image) - expected).abs().max() / expected.abs().max())


@pytest.mark.usefixtures("with_kernels")
def test_the_native_kernels_are_used_where_they_exist(network: MedNeXt) -> None:
    fast = FastNetwork(network)
    assert difference(fast, network) < 1e-5
    assert fast.formulation == "native"


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_the_lean_formulation_is_used_if_it_is_faster(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = FastNetwork(network)
    assert difference(fast, network) < 1e-5
    assert fast.formulation == "lean"
    monkeypatch.setattr(formulation, "is_faster", lambda *_: False)
    slow = FastNetwork(network)
    assert difference(slow, network) == 0
    assert slow.formulation == "plain"


@pytest.mark.parametrize(
    ("ours", "theirs", "slack", "expected"),
    [(0.0, 0.02, 1, True), (0.02, 0.0, 1, False), (0.03, 0.02, 100, True)],
)
def test_a_network_is_faster_when_its_fastest_pass_is(
    ours: float, theirs: float, slack: float, expected: bool
) -> None:
    """`is_faster` itself, with pauses far beyond the noise of any machine."""

    class Slow(nn.Module):
        def __init__(self, pause_s: float) -> None:
            super().__init__()
            self.pause_s = pause_s

        def forward(self, x: Tensor) -> Tensor:
            time.sleep(self.pause_s)
            return x

    assert measured_is_faster(Slow(ours), Slow(theirs), IMAGE, slack) is expected


@pytest.mark.usefixtures("without_kernels")
def test_on_the_cpu_a_network_that_saves_memory_may_be_a_little_slower(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lean L took 1.1 times as long as plain L with a third of the memory, by which the run was planned."""
    monkeypatch.setattr(formulation, "is_faster", lambda _network, _plain, _tile, slack: slack > 1.2)
    fast = FastNetwork(network)
    assert difference(fast, network) < 1e-5
    assert fast.formulation == "lean"


@pytest.mark.usefixtures("without_kernels")
def test_only_a_part_of_a_large_image_is_timed(network: MedNeXt, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def is_faster(made: nn.Module, plain: nn.Module, image: Tensor, slack: float) -> bool:
        seen.add(tuple(image.shape))
        return True

    monkeypatch.setattr(formulation, "is_faster", is_faster)
    large = torch.randn(1, 2, 80, 32, 32)
    assert difference(FastNetwork(network), network, large) < 1e-5
    assert seen == {(1, 2, 48, 32, 32)}


class WrongBeyond(nn.Module):
    """Right for 32 voxels along an axis; zeros beyond."""

    def __init__(self, network: MedNeXt, axis: int) -> None:
        super().__init__()
        self.network, self.axis = network, axis

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x).clone()
        logits.narrow(self.axis, 32, logits.shape[self.axis] - 32).zero_()
        return logits


@pytest.mark.parametrize("axis", [2, 3, 4])
@pytest.mark.parametrize(
    "numbers", [formulation.PLAIN_NUMBERS, 0]
)  # judged by the plain network, by the lean
def test_a_formulation_that_is_wrong_in_a_part_of_a_real_tile_is_not_used(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch, axis: int, numbers: int
) -> None:
    monkeypatch.setattr(formulation, "PLAIN_NUMBERS", numbers)
    offer(monkeypatch, lambda plain: WrongBeyond(plain, axis))
    sides = [32, 32, 32]
    sides[axis - 2] = 80
    fast = FastNetwork(network)
    assert difference(fast, network, torch.randn(1, 2, *sides)) < 1e-5
    assert fast.formulation == "plain"


def test_a_tile_of_air_hides_no_fault(network: MedNeXt, monkeypatch: pytest.MonkeyPatch) -> None:
    class RightForAir(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(torch.zeros_like(x))

    offer(monkeypatch, lambda _: RightForAir())
    fast = FastNetwork(network)
    assert difference(fast, network, torch.zeros_like(IMAGE)) == 0
    assert fast.formulation == "plain"


def test_each_shape_and_batch_is_checked(network: MedNeXt, monkeypatch: pytest.MonkeyPatch) -> None:
    class RightForOne(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(x) if len(x) == 1 else network(x).flip(0)

    offer(monkeypatch, lambda _: RightForOne())
    fast = FastNetwork(network)
    difference(fast, network)
    assert fast.formulation == "planted"
    assert difference(fast, network, torch.cat([IMAGE, -IMAGE])) < 1e-5
    assert fast.formulation == "plain"


@pytest.mark.usefixtures("with_kernels")
def test_when_one_formulation_fails_the_next_one_is_tried(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = formulation.formulations

    def fail() -> nn.Module:
        raise AssertionError("libcuda.so cannot found!")

    broken = Formulation("planted", fail)
    monkeypatch.setattr(formulation, "formulations", lambda *options: [broken, *usual(*options)])
    fast = FastNetwork(network)
    assert difference(fast, network) < 1e-5
    assert fast.formulation == "native"


def test_a_formulation_that_is_wrong_is_not_used(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(x) * 1.001

    offer(monkeypatch, lambda _: Wrong())
    fast = FastNetwork(network)
    assert difference(fast, network) < 1e-5
    assert fast.formulation != "planted"
    assert "The planted network is wrong by 1.0e-03" in caplog.text


def test_a_formulation_that_returns_nan_is_not_used(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nan(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(x) * float("nan")

    offer(monkeypatch, lambda _: Nan())
    assert difference(FastNetwork(network), network) < 1e-5


@pytest.mark.parametrize(
    "error",
    [RuntimeError("broken"), MemoryError(), KeyError("device")],
)
def test_a_formulation_that_fails_later_is_replaced_with_its_traceback_in_the_log(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    class Fragile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if passes:
                raise error
            passes.append(1)
            return network(x)

    passes: list[int] = []

    offer(monkeypatch, lambda _: Fragile())
    fast = FastNetwork(network)
    with caplog.at_level(logging.WARNING):
        assert difference(fast, network) == 0
        assert difference(fast, network) == 0
    assert len(caplog.records) == 1
    assert type(error).__name__ in caplog.text


class Several(nn.Module):
    """A formulation that takes four images at once, and runs out of memory with them."""

    def __init__(self, network: MedNeXt) -> None:
        super().__init__()
        self.network = network

    def images_at_once(self, sides: tuple[int, ...]) -> int:
        return 4

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(x)


@torch.inference_mode()
def test_a_formulation_that_fails_with_several_images_computes_them_one_by_one(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, Several)
    fast = FastNetwork(network)
    assert fast.images_at_once((32, 48, 32)) == 1  # nothing is chosen yet
    fast(IMAGE)
    assert fast.images_at_once((32, 48, 32)) == 4
    together = fast(torch.cat([IMAGE, -IMAGE]))
    assert torch.equal(together, torch.cat([network(IMAGE), network(-IMAGE)]))
    assert fast.formulation == "plain" and fast.images_at_once((32, 48, 32)) == 1


@torch.inference_mode()
def test_the_caller_handles_too_little_memory_for_a_frugal_formulation(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run then moves the sums off the card, and continues with the same formulation."""
    offer(monkeypatch, Several, frugal=True)
    fast = FastNetwork(network)
    fast(IMAGE)
    with pytest.raises(torch.OutOfMemoryError):
        fast(torch.cat([IMAGE, -IMAGE]))
    assert fast.formulation == "planted"
    assert torch.equal(fast(IMAGE), network(IMAGE))


@torch.inference_mode()
def test_another_device_gets_its_own_choice_of_formulation(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a card's memory is full the network moves to the CPU, which is not to take eight images then."""
    offer(monkeypatch, Several)
    fast = FastNetwork(network)
    fast(IMAGE)
    fast.to("meta")
    assert fast.images_at_once((32, 48, 32)) == 1


def test_a_formulation_that_cannot_be_made_is_skipped(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: MedNeXt) -> nn.Module:
        raise ImportError("no such package")

    offer(monkeypatch, fail)
    assert difference(FastNetwork(network), network) < 1e-5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"native", "lean", "Triton"}),
        ({"grn": True}, {"native", "Triton"}),
        ({"channels": 64}, {"native", "lean"}),
        ({"dimensions": 2}, set()),
        ({"deep_supervision": True}, set()),
        ({"resampling": "standard"}, set()),
        ({"output_padding": True}, set()),
    ],
)
@pytest.mark.usefixtures("with_kernels")
def test_a_formulation_is_offered_only_for_networks_that_it_supports(
    options: dict, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton, "runs_triton", lambda _: True)
    with torch.device("meta"):
        network = MedNeXt(1, 2, **{"expansion": (2,) * 9, "blocks": (1,) * 9, **options})
    devices = map(torch.device, ("cpu", "cuda"))
    found = {each.name for device in devices for each in formulations(network, device, "float32")}
    assert found - {"channels-last"} == expected


def test_bfloat16_is_used_only_on_request(network: MedNeXt, with_kernels: None) -> None:
    library = native.native_library()
    assert library
    if not library.mednext_kernels(b"avx512_bf16"):
        pytest.skip("this processor has no bfloat16")
    half = FastNetwork(network, "bfloat16")
    assert 1e-5 < difference(half, network) < 5e-2
    assert half.formulation == "native bfloat16"


def test_a_network_that_is_not_a_mednext_runs_unchanged() -> None:
    network = nn.Conv3d(2, 3, 1)
    fast = FastNetwork(network)
    assert torch.equal(fast(IMAGE), network(IMAGE))


def test_an_unknown_precision_is_refused(network: MedNeXt) -> None:
    with pytest.raises(OptionError, match="'float8'"):
        FastNetwork(network, "float8")


def test_a_triton_that_does_not_compile_the_kernels_is_named_in_the_log_and_not_used(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    monkeypatch.setattr("triton.__version__", "3.2.0")
    of_triton = Formulation(
        "Triton", lambda: triton.TritonMedNeXt(network, torch.float32, IMAGE.device), 1e-3
    )
    monkeypatch.setattr(formulation, "OFFERS", (lambda *_: [of_triton],))
    fast = FastNetwork(network)
    with torch.inference_mode():
        assert torch.equal(fast(IMAGE), network(IMAGE))
    assert fast.take_failures() == ["Triton"]
    assert "Triton 3.2.0 does not compile the kernels" in caplog.text


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.inference_mode()
def test_cards_without_kernels_may_use_channels_last(
    dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MedNeXt(2, 3, expansion=(2,) * 9, blocks=(1,) * 9, channels=4, dimensions=dimensions).eval()
    monkeypatch.setattr(triton, "runs_triton", lambda _: False)
    (only,) = formulations(network, torch.device("cuda"), "float32")
    assert only.name == "channels-last"
    x = IMAGE if dimensions == 3 else IMAGE[:, :, 0]
    found, expected = only.make()(x[..., :32, :32]), network(x[..., :32, :32])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
