"""The network on Triton's kernels gives the reference's logits, and refuses unsupported networks."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fixtures.machines.triton_device import DEVICE  # skips all of this where there is no Triton
from mednext.errors import OptionError
from mednext.network import triton
from mednext.network.mednext import MedNeXt
from mednext.network.triton import TritonMedNeXt, is_supported
from mednext.network.triton_graph import Graph, record
from mednext.system import devices
from torch import Tensor

# isort: split
from mednext.network.triton_kernels.block_launches import TritonBlock, Workspace
from mednext.network.triton_kernels.stem_and_head_launches import Stem
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


@pytest.mark.parametrize(
    ("changes", "dtype", "tolerance"),
    [
        ({"grn": True, "grn_denominator": "sum", "down_expansion": (3, 1, 2, 4)}, torch.float32, 1e-5),
        ({"residual": False, "resampling": "bottleneck"}, torch.float16, 2e-2),
    ],
    ids=["global response norm", "no residuals in float16"],
)
def test_the_network_gives_the_logits_of_the_reference(
    changes: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    """Of one image, since `test_triton_kernels.py` compares each kernel with two."""
    assert relative_difference(small(**changes), image(), dtype) < tolerance


class Computed:
    """The groups of images that are computed: the logits of each image are the sum of its channels."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.most = 100  # images that fit into the memory

    def stem(self, image: Tensor, _: Tensor) -> None:
        self.groups.append(len(image))
        if len(image) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sums = image.sum(1, keepdim=True)

    def last_pass(self, *given: Any) -> None:
        x, _, workspace, answer = given
        workspace.take("parts", (7,), x, torch.float32)  # as for hidden channels that are split
        answer.logits.copy_(self.sums)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    found = Computed()
    monkeypatch.setattr(Stem, "run", lambda _, *given: found.stem(*given))
    monkeypatch.setattr(TritonBlock, "second_pass", lambda _, *given: found.last_pass(*given))
    for left_out in ("run", "first_pass"):
        monkeypatch.setattr(TritonBlock, left_out, lambda *_: None)
    return found


def test_when_memory_runs_out_fewer_tiles_are_taken_at_once(
    computed: Computed, caplog: pytest.LogCaptureFixture
) -> None:
    network, x = TritonMedNeXt(small(), torch.float32, DEVICE), image(5)
    computed.most = 2
    with caplog.at_level(logging.INFO):
        logits = network(x.to(DEVICE)).cpu()
    assert torch.equal(logits[:, 0], x.sum(1))
    assert computed.groups == [5, 2, 2, 2]  # the last one is filled up
    assert "2 from now on" in caplog.text


def test_memory_too_small_for_one_tile_is_an_error(computed: Computed) -> None:
    computed.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        TritonMedNeXt(small(), torch.float32, DEVICE)(image())


class Recorded:
    """A graph on a machine that has none: the same launches once more."""

    def __init__(self, launch: Callable[[], None], workspace: Workspace) -> None:
        self.replayed = 0
        self.launch, self.workspace = launch, workspace

    def replay(self) -> None:
        self.replayed += 1
        self.launch()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    graphs: list[Recorded] = []

    def record(launch: Callable[[], None], _: torch.device, workspace: Workspace) -> Graph:
        graphs.append(Recorded(launch, workspace))
        return Graph(graphs[-1].replay, workspace)

    monkeypatch.setattr(triton, "record", record)
    return graphs


@pytest.mark.usefixtures("computed")
def test_no_memory_is_exchanged_once_a_graph_points_to_it(recorded: list[Recorded]) -> None:
    network = TritonMedNeXt(small(), torch.float32, DEVICE)
    for _ in range(2):
        network(image().to(DEVICE))
    assert len(recorded) == 1 and recorded[0].replayed == 1


@pytest.mark.usefixtures("computed")
def test_a_graph_that_points_to_memory_that_is_gone_is_not_replayed(recorded: list[Recorded]) -> None:
    """As when another network of these activations needs more of it."""
    network, x = TritonMedNeXt(small(), torch.float32, DEVICE), image().to(DEVICE)
    network(x)
    recorded[0].workspace.take("parts", (10**7,), x, torch.float32)
    network(x)
    network(x)
    assert [graph.replayed for graph in recorded] == [0, 1]


@pytest.fixture
def new_memory(caplog: pytest.LogCaptureFixture) -> Callable[[], int]:
    """How often memory for activations was taken: kernels are compiled for it then."""
    gc.collect()  # networks of the tests before, whose memory would be shared
    caplog.set_level(logging.INFO)
    return lambda: caplog.text.count("Compiling kernels for")


def test_networks_of_all_folds_use_the_same_memory_in_turn(
    computed: Computed, recorded: list[Recorded], new_memory: Callable[[], int]
) -> None:
    """On a card, `test_cuda.py` compares their logits."""
    x = image().to(DEVICE)
    first, other = (TritonMedNeXt(small(), torch.float32, DEVICE) for _ in range(2))
    for network in (first, other, first):
        assert torch.equal(network(x), x.sum(1, keepdim=True).expand(-1, 3, -1, -1, -1))
    assert new_memory() == 1
    assert [graph.replayed for graph in recorded] == [1, 0]


def test_networks_at_work_at_the_same_time_have_memory_of_their_own(
    computed: Computed, new_memory: Callable[[], int]
) -> None:
    first, other = (TritonMedNeXt(small(), torch.float32, DEVICE) for _ in range(2))
    first(image().to(DEVICE))
    thread = Thread(target=lambda: other(image().to(DEVICE)))
    thread.start()
    thread.join()
    assert new_memory() == 2
    other(image(2).to(DEVICE))
    assert new_memory() == 3
    other(image().to(DEVICE))
    assert new_memory() == 3, "one image is filled up to two"


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
    found = record(lambda: None, torch.device("cuda:1"), Workspace())
    assert (found is not None) == (error is None)
    assert asked == {"stream": "of cuda:1", "capture_error_mode": "thread_local"}
    assert streams[-1] == "the usual one"


def test_an_error_of_tritons_compiler_is_a_runtime_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton's own errors are no `RuntimeError`s: nobody would go on without the kernels."""

    def launch(*_: Any) -> None:
        raise OutOfResources(300000, 232448, "shared memory")

    monkeypatch.setattr(Stem, "run", launch)
    with pytest.raises(RuntimeError, match="shared memory"):
        TritonMedNeXt(small(), torch.float32, DEVICE)(image())


def test_a_patch_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(OptionError, match="divisible by 16"):
        TritonMedNeXt(small(), torch.float32, DEVICE)(torch.zeros(1, 2, 16, 24, 32))


def test_a_last_group_is_filled_up_but_many_small_groups_are_not(computed: Computed) -> None:
    network, x = TritonMedNeXt(small(), torch.float32, DEVICE), image(4)
    for count in (4, 3, 4, 1, 1, 1, 1, 1, 1):
        assert torch.equal(network(x[:count].to(DEVICE)).cpu()[:, 0], x[:count].sum(1))
    assert computed.groups == [4, 4, 4, 4, 4, 4, 4, 1, 1]


def test_a_patch_too_large_for_the_kernels_offsets_runs_on_torch() -> None:
    with pytest.raises(RuntimeError, match="too large"):
        TritonMedNeXt(small(), torch.float32, DEVICE)(torch.empty(1, 2, 512, 512, 512, device="meta"))


def test_only_cards_that_triton_compiles_for_are_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not any(is_supported(network, torch.device(name)) for name in ("cpu", "mps", "cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    assert is_supported(network, torch.device("cuda"))
    monkeypatch.setattr(devices, "find_spec", lambda _: None)
    assert not is_supported(network, torch.device("cuda"))
