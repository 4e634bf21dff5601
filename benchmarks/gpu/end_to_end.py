"""A whole CT through our pipeline on the card: seconds of each stage, and the network's share of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from mednext.images.volume import Volume
from mednext.inference import segment as pipeline
from mednext.inference.loaded_networks import LoadedNetworks
from mednext.inference.postprocessing import LabelWriter
from mednext.inference.preprocessing import Preprocessed
from mednext.inference.progress import Progress
from mednext.inference.segment import segment
from mednext.model.bundle import Bundle
from mednext.network.formulation import FastNetwork
from torch import Tensor

from ..end_to_end import bundle_of, volume_of
from .records import tell
from .scale import Scale
from .timing import DEVICE, ON_CARD, Stopwatch


def end_to_end(job: str, name: str, scale: Scale) -> None:
    """With mirrored copies, as a user gets it, and without; each after a run that compiles and allocates."""
    volume = volume_of(scale.voxels)
    with tempfile.TemporaryDirectory() as folder:
        networks = LoadedNetworks()
        bundle = bundle_of(Path(folder) / "model", scale.spec(name), scale.sides, (0, 1, 2))
        small = volume_of(scale.voxels if scale.tiny else (200, 200, 120))
        for mirroring in (False, True)[: 1 if scale.tiny else 2]:
            _run(small, bundle, networks, mirroring)
            for again in ("", ", again"):
                values = _run(volume, bundle, networks, mirroring)
                tell(job, ("mirrored" if mirroring else "not mirrored") + again, **values)
                if scale.tiny:
                    break


def _run(volume: Volume, bundle: Bundle, networks: LoadedNetworks, mirroring: bool) -> dict[str, float | str]:
    began: dict[str, float] = {}
    if ON_CARD:
        torch.cuda.reset_peak_memory_stats()

    def report(progress: Progress) -> None:
        began.setdefault(progress.stage, time.perf_counter())

    start = time.perf_counter()
    with _passes() as passes, _writing() as writing, _preprocessing() as preprocessing:
        found = segment(
            volume, bundle, device=DEVICE.type, mirroring=mirroring, progress=report, networks=networks
        )
    seconds = time.perf_counter() - start
    network = sum(watch.milliseconds() for watch in passes) / 1000
    return {
        "s": seconds,
        "network s": network,
        "share": network / seconds,
        "passes": float(len(passes)),
        "preprocessing s": sum(watch.milliseconds() for watch, _ in preprocessing) / 1000,
        "preprocessed on": preprocessing[-1][1],
        "before s": began["network"] - start,
        "tiles s": began["postprocessing"] - began["network"],
        "of it labels s": sum(writing),
        "after s": start + seconds - began["postprocessing"],
        "peak MiB": torch.cuda.max_memory_allocated() / 2**20 if ON_CARD else 0.0,
        "formulation": found.provenance["formulation"],
    }


@contextmanager
def _passes() -> Iterator[list[Stopwatch]]:
    """A stopwatch for every pass through a network within the block, in the device's own time."""
    watches: list[Stopwatch] = []
    original = FastNetwork.forward

    def forward(self: FastNetwork, x: Tensor) -> Tensor:
        watch = Stopwatch()
        logits = original(self, x)
        watch.stop()
        watches.append(watch)
        return logits

    with patch.object(FastNetwork, "forward", forward):
        yield watches


@contextmanager
def _preprocessing() -> Iterator[list[tuple[Stopwatch, str]]]:
    """A stopwatch for all of preprocessing, upload included, and where the image is then.

    It stops when the device is done, which the CPU does not wait for: "before s" may be less.
    """
    watches: list[tuple[Stopwatch, str]] = []
    original = pipeline.preprocess

    def preprocess(*arguments: Any) -> Preprocessed:
        watch = Stopwatch()
        image = original(*arguments)
        watch.stop()
        watches.append((watch, image.array.device.type))
        return image

    with patch.object(pipeline, "preprocess", preprocess):
        yield watches


@contextmanager
def _writing() -> Iterator[list[float]]:
    """Seconds that the CPU spends with each block of labels; it waits for the device there."""
    seconds: list[float] = []
    original = LabelWriter.add

    def add(self: LabelWriter, *arguments: object) -> None:
        started = time.perf_counter()
        original(self, *arguments)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - started)

    with patch.object(LabelWriter, "add", add):
        yield seconds
