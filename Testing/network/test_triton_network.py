"""The network on Triton's kernels gives the reference's logits, and refuses unsupported networks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mednext.errors import OptionError
from mednext.network import triton
from mednext.network.mednext import MedNeXt
from mednext.network.triton import TritonMedNeXt, is_supported, knows
from mednext.system import devices
from torch import Tensor
from triton_device import DEVICE  # skips all of this where there is no Triton

# isort: split
from mednext.network.triton_kernels import block_launches
from mednext.network.triton_kernels.block_launches import TritonBlock, Workspace
from mednext.network.triton_kernels.tile_sizes import PointTile
from triton.runtime.errors import OutOfResources


def small(**changes: Any) -> MedNeXt:
    """A network of 4 channels, one block per stage, with weights and biases that all matter."""
    torch.manual_seed(0)
    options = {"in_channels": 2, "num_classes": 3, "expansion": (2,) * 9, "blocks": (1,) * 9, "channels": 4}
    network = MedNeXt(**{**options, **changes}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return network


def image(count: int = 1) -> Tensor:
    return torch.randn(count, 2, 16, 32, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def relative_difference(network: MedNeXt, x: Tensor, dtype: torch.dtype) -> float:
    expected = network(x)
    found = TritonMedNeXt(network, dtype, DEVICE)(x.to(DEVICE)).cpu()
    assert found.shape == expected.shape and found.dtype == torch.float32
    return float((found - expected).norm() / expected.norm())


def test_the_network_gives_the_logits_of_the_reference() -> None:
    """For every image of a batch, each normalised by itself."""
    x = image(2)
    x[1] *= 10
    assert relative_difference(small(), x, torch.float32) < 1e-5


def test_a_network_without_residuals_and_with_many_classes_is_the_same() -> None:
    network = small(num_classes=70, residual=False, resampling="bottleneck")
    assert relative_difference(network, image(), torch.float32) < 1e-5


def test_down_blocks_may_have_an_expansion_of_their_own() -> None:
    assert relative_difference(small(down_expansion=(3, 1, 2, 4)), image(), torch.float32) < 1e-5


def test_the_network_in_float16_is_near_the_reference() -> None:
    assert relative_difference(small(), image(), torch.float16) < 2e-2


def test_when_memory_runs_out_fewer_tiles_are_taken_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = TritonMedNeXt(small(), torch.float32, DEVICE)
    groups = []

    def group(self: TritonMedNeXt, images: Tensor, logits: Tensor) -> None:
        groups.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits.copy_(images.sum(1, keepdim=True))

    monkeypatch.setattr(TritonMedNeXt, "_group", group)
    x = image(5)
    with caplog.at_level(logging.INFO):
        logits = network(x.to(DEVICE)).cpu()
    assert torch.equal(logits[:, 0], x.sum(1))
    assert groups == [5, 2, 2, 1]
    assert "2 from now on" in caplog.text


def test_too_little_memory_for_the_logits_reduces_the_next_number_of_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    network = TritonMedNeXt(small(), torch.float32, DEVICE)
    network._device, network._at_once = torch.device("cuda"), {(16, 32, 16): 8}
    assert network.images_at_once((16, 32, 16)) == 8
    monkeypatch.setattr(Tensor, "to", lambda x, _: x)
    monkeypatch.setattr(Tensor, "new_empty", full)
    with pytest.raises(torch.OutOfMemoryError):
        network(image(8))
    assert network.images_at_once((16, 32, 16)) == 4


def test_memory_too_small_for_one_tile_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def group(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TritonMedNeXt, "_group", group)
    with pytest.raises(torch.OutOfMemoryError):
        TritonMedNeXt(small(), torch.float32, DEVICE)(image())


class Recorded:
    """A graph on a machine that has none: the same launches once more."""

    def __init__(self, network: TritonMedNeXt, activations: Any) -> None:
        self.replayed = 0
        self._blocks = lambda: TritonMedNeXt._blocks(network, activations)

    def replay(self) -> None:
        self.replayed += 1
        self._blocks()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    graphs: list[Recorded] = []

    def capture(self: TritonMedNeXt, activations: Any) -> None:
        graphs.append(Recorded(self, activations))
        self._graph = triton._Graph(graphs[-1], activations.workspace)  # type: ignore[arg-type]

    monkeypatch.setattr(TritonMedNeXt, "_capture", capture)
    return graphs


@pytest.fixture
def last_pass_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block's second pass, which is not in the graph, and which needs most memory here."""

    def tiles(voxels: int, *_: Any) -> list[PointTile]:
        return [PointTile(4096, 8, 2, 4, 1)]

    monkeypatch.setattr(block_launches, "point_tiles", tiles)
    for left_out in ("run", "first_pass"):
        monkeypatch.setattr(TritonBlock, left_out, lambda *_: None)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # nothing is computed before that pass
@pytest.mark.usefixtures("last_pass_alone")
def test_no_memory_is_exchanged_once_a_graph_points_to_it(recorded: list[Recorded]) -> None:
    network = TritonMedNeXt(small(), torch.float32, DEVICE)
    for _ in range(3):
        network(image().to(DEVICE))
    assert len(recorded) == 1 and recorded[0].replayed == 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.usefixtures("last_pass_alone")
def test_a_graph_that_points_to_memory_that_is_gone_is_not_replayed(recorded: list[Recorded]) -> None:
    """As when another network of these activations needs more of it."""
    network, x = TritonMedNeXt(small(), torch.float32, DEVICE), image().to(DEVICE)
    network(x)
    workspace = network._activations.workspace  # type: ignore[union-attr]
    workspace.take("parts", (10**7,), x, torch.float32)
    network(x)
    network(x)
    assert [graph.replayed for graph in recorded] == [0, 1]


def test_networks_of_all_folds_use_the_same_memory_in_turn(recorded: list[Recorded]) -> None:
    plain, x = small(), image()
    with torch.no_grad():
        expected = plain(x)
    first, other = (
        TritonMedNeXt(network, torch.float32, DEVICE) for network in (plain, small(num_classes=5))
    )
    for network in (first, other, first):
        logits = network(x.to(DEVICE)).cpu()
        if network is first:
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert first._activations is other._activations
    assert [graph.replayed for graph in recorded] == [1, 0]


def test_networks_at_work_at_the_same_time_have_memory_of_their_own() -> None:
    networks = [TritonMedNeXt(small(), torch.float32, DEVICE) for _ in range(2)]
    taken = [networks[0]._take_activations(image())]
    thread = Thread(target=lambda: taken.append(networks[1]._take_activations(image())))
    thread.start()
    thread.join()
    taken.append(networks[1]._take_activations(image(2)))
    assert len({id(activations) for activations in taken}) == 3


@pytest.mark.parametrize("error", [None, RuntimeError("not while a stream is captured")])
def test_a_graph_is_captured_on_the_networks_own_card(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own stream belongs to the card of the first graph, and stays the current one when one fails."""
    asked: dict[str, Any] = {}
    streams = ["the usual one"]

    @contextmanager
    def graph(_: object, stream: str, **options: Any) -> Iterator[None]:
        asked.update(stream=stream, **options)
        streams.append(stream)
        yield
        if error:
            raise error  # as torch does, before it goes back to the usual stream
        streams.append("the usual one")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=None))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"of {device}")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(TritonMedNeXt, "_blocks", lambda *_: None)
    network = TritonMedNeXt(small(), torch.float32, DEVICE)
    network._device = torch.device("cuda:1")
    network._capture(SimpleNamespace(workspace=Workspace()))  # type: ignore[arg-type]
    assert network.has_graph == (error is None)
    assert asked == {"stream": "of cuda:1", "capture_error_mode": "thread_local"}
    assert streams[-1] == "the usual one"


def test_an_error_of_tritons_compiler_is_a_runtime_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton's own errors are no `RuntimeError`s: nobody would go on without the kernels."""

    def launch(*_: Any) -> None:
        raise OutOfResources(300000, 232448, "shared memory")

    monkeypatch.setattr(TritonMedNeXt, "_launch", launch)
    with pytest.raises(RuntimeError, match="shared memory"):
        TritonMedNeXt(small(), torch.float32, DEVICE)(image())


def test_a_patch_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(OptionError, match="divisible by 16"):
        TritonMedNeXt(small(), torch.float32, DEVICE)(torch.zeros(1, 2, 16, 24, 32))


def test_a_last_group_is_filled_up_but_many_small_groups_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    network = TritonMedNeXt(small(), torch.float32, DEVICE)
    computed = []

    def compute(self: TritonMedNeXt, images: Tensor, logits: Tensor) -> None:
        computed.append(len(images))
        self._activations = SimpleNamespace(shape=images.shape)
        logits.copy_(images.sum(1, keepdim=True))

    monkeypatch.setattr(TritonMedNeXt, "_compute", compute)
    x = image(4)
    for count in (4, 3, 4, 1, 1, 1, 1, 1, 1):
        assert torch.equal(network(x[:count].to(DEVICE)).cpu()[:, 0], x[:count].sum(1))
    assert computed == [4, 4, 4, 4, 4, 4, 4, 1, 1]


def test_a_patch_too_large_for_the_kernels_offsets_runs_on_torch() -> None:
    with pytest.raises(RuntimeError, match="too large"):
        TritonMedNeXt(small(), torch.float32, DEVICE)(torch.empty(1, 2, 512, 512, 512, device="meta"))


@pytest.mark.parametrize(
    "changes",
    [
        {"dimensions": 2},
        {"deep_supervision": True},
        {"resampling": "standard"},
        {"grn": True},
        {"output_padding": True},
        {"channels": 64},
    ],
)
def test_networks_that_the_kernels_do_not_support_run_on_torch(changes: dict[str, Any]) -> None:
    with torch.device("meta"):
        options = {"in_channels": 1, "num_classes": 2, "expansion": (2,) * 9, "blocks": (1,) * 9}
        assert knows(MedNeXt(**options))
        assert not knows(MedNeXt(**{**options, **changes}))


def test_only_cards_that_triton_compiles_for_are_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not any(is_supported(network, torch.device(name)) for name in ("cpu", "mps", "cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert is_supported(network, torch.device("cuda"))
    monkeypatch.setattr(devices, "find_spec", lambda _: None)
    assert not is_supported(network, torch.device("cuda"))
