"""A faster network is used where it is right, and left where it is missing, wrong or broken."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from mednext import acceleration, native_library, openvino_network
from mednext.acceleration import FastNetwork, Formulation, other_formulations
from mednext.errors import OptionError
from mednext.lean_network import LeanMedNeXt
from mednext.network import MedNeXt
from torch import Tensor, nn

IMAGE = torch.randn(1, 2, 32, 48, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network() -> MedNeXt:
    torch.manual_seed(0)
    return MedNeXt(2, 3, expansion=(2,) * 9, blocks=(1,) * 9, channels=8).eval()


@pytest.fixture(autouse=True)
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converting takes seconds; see test_openvino_network.py."""
    monkeypatch.setattr(openvino_network, "is_installed", lambda: False)


@pytest.fixture
def with_kernels(monkeypatch: pytest.MonkeyPatch, native_kernels: object) -> None:
    monkeypatch.setattr(acceleration, "native_library", lambda: native_kernels)


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "native_library", lambda: None)


def offer(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[MedNeXt], nn.Module], frugal: bool = False
) -> None:
    """Offer one formulation, preferred to all others."""
    monkeypatch.setattr(
        acceleration,
        "kernels",
        lambda network, *_: [Formulation("planted", lambda: make(network), frugal=frugal)],
    )


@torch.inference_mode()
def difference(fast: FastNetwork, network: MedNeXt, image: Tensor = IMAGE) -> float:
    expected = network(image)
    assert isinstance(expected, Tensor)
    return float((fast(image) - expected).abs().max() / expected.abs().max())


@pytest.mark.usefixtures("with_kernels")
def test_the_native_kernels_are_taken_where_they_are(network: MedNeXt) -> None:
    fast = FastNetwork(network)
    assert difference(fast, network) < 1e-5
    assert fast.formulation == "native"


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_the_faster_of_torchs_ways_is_taken(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {MedNeXt: 2.0, LeanMedNeXt: 1.0}
    monkeypatch.setattr(acceleration, "_seconds", lambda network, _: seconds[type(network)])
    fast = FastNetwork(network)
    assert difference(fast, network) < 1e-5
    assert fast.formulation == "lean"
    seconds[LeanMedNeXt] = 3.0
    slow = FastNetwork(network)
    assert difference(slow, network) == 0
    assert slow.formulation == "plain"


@pytest.mark.usefixtures("without_kernels")
def test_no_more_than_a_part_of_a_large_image_decides_which_way_is_taken(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def seconds(made: nn.Module, image: Tensor) -> float:
        seen.add(tuple(image.shape))
        return 1.0 if isinstance(made, LeanMedNeXt) else 2.0

    monkeypatch.setattr(acceleration, "_seconds", seconds)
    large = torch.randn(1, 2, 80, 32, 32)
    assert difference(FastNetwork(network), network, large) < 1e-5
    assert seen == {(1, 2, 64, 32, 32)}


@pytest.mark.usefixtures("without_kernels")
def test_openvino_is_tried_where_it_is_installed(network: MedNeXt, monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> list[str]:
        return [each.name for each in acceleration.other_formulations(network, torch.device("cpu"))]

    assert names() == ["lean"]
    monkeypatch.setattr(openvino_network, "is_installed", lambda: True)
    assert names() == ["lean", "OpenVINO"]


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


def test_a_formulation_that_answers_with_nan_is_not_used(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nan(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(x) * float("nan")

    offer(monkeypatch, lambda _: Nan())
    assert difference(FastNetwork(network), network) < 1e-5


@pytest.mark.parametrize("error", [RuntimeError("broken"), MemoryError(), OSError("no such library")])
def test_a_formulation_that_fails_in_the_middle_is_left_with_one_line_in_the_log(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    class Fragile(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape == IMAGE.shape:
                raise error
            return network(x)

    offer(monkeypatch, lambda _: Fragile())
    fast = FastNetwork(network)
    with caplog.at_level(logging.WARNING):
        assert difference(fast, network) == 0
        assert difference(fast, network) == 0
    assert len(caplog.records) == 1


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
def test_what_failed_with_several_images_at_once_is_done_one_by_one(
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
def test_memory_that_is_too_small_for_what_needs_least_is_for_who_calls_to_deal_with(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline takes the sums off the card then, and goes on with the same formulation."""
    offer(monkeypatch, Several, frugal=True)
    fast = FastNetwork(network)
    fast(IMAGE)
    with pytest.raises(torch.OutOfMemoryError):
        fast(torch.cat([IMAGE, -IMAGE]))
    assert fast.formulation == "planted"
    assert torch.equal(fast(IMAGE), network(IMAGE))


@torch.inference_mode()
def test_what_was_chosen_for_another_device_says_nothing_of_this_one(
    network: MedNeXt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a card's memory is full the network moves to the CPU, which is not to take eight images then."""
    offer(monkeypatch, Several)
    fast = FastNetwork(network)
    fast(IMAGE)
    fast.to("meta")
    assert fast.images_at_once((32, 48, 32)) == 1


def test_a_formulation_that_cannot_be_made_is_left(network: MedNeXt, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: MedNeXt) -> nn.Module:
        raise ImportError("no such package")

    offer(monkeypatch, fail)
    assert difference(FastNetwork(network), network) < 1e-5


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("options", [{"dimensions": 2}, {"resampling": "standard"}, {"grn": True}])
def test_networks_that_only_the_plain_formulation_knows_run_in_it(options: dict) -> None:
    network = MedNeXt(2, 3, (2,) * 9, (1,) * 9, channels=8, **options).eval()
    image = IMAGE[:, :, 0] if "dimensions" in options else IMAGE
    assert difference(FastNetwork(network), network, image) < 1e-5


def test_bfloat16_is_taken_only_where_it_is_asked_for(network: MedNeXt, with_kernels: None) -> None:
    library = acceleration.native_library()
    assert library
    if not library.mednext_kernels(b"avx512_bf16"):
        pytest.skip("this processor has no bfloat16")
    half = FastNetwork(network, "bfloat16")
    assert 1e-5 < difference(half, network) < 5e-2
    assert half.formulation == "native bfloat16"


def test_a_network_of_another_kind_runs_as_it_is() -> None:
    network = nn.Conv3d(2, 3, 1)
    fast = FastNetwork(network)
    assert torch.equal(fast(IMAGE), network(IMAGE))


def test_a_precision_that_does_not_exist_is_refused(network: MedNeXt) -> None:
    with pytest.raises(OptionError, match="'float8'"):
        FastNetwork(network, "float8")


def test_the_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDNEXT_NATIVE", "off")
    native_library.native_library.cache_clear()
    try:
        assert native_library.native_library() is None
    finally:
        native_library.native_library.cache_clear()


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.inference_mode()
def test_cards_without_kernels_have_the_other_layout_to_choose_from(dimensions: int) -> None:
    network = MedNeXt(2, 3, expansion=(2,) * 9, blocks=(1,) * 9, channels=4, dimensions=dimensions).eval()
    (formulation,) = other_formulations(network, torch.device("cuda"))
    assert formulation.name == "channels-last"
    x = IMAGE if dimensions == 3 else IMAGE[:, :, 0]
    found, expected = formulation.make()(x[..., :32, :32]), network(x[..., :32, :32])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
