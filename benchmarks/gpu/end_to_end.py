"""A whole CT through our pipeline on the card: seconds of each stage, and the network's share of them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from mednext.images.volume import Volume
from mednext.inference import segment as pipeline
from mednext.inference.loaded_networks import LoadedNetworks
from mednext.inference.postprocessing import LabelWriter
from mednext.inference.progress import Progress
from mednext.inference.segment import segment
from mednext.model.bundle import Bundle
from mednext.network.formulation import FastNetwork

from ..end_to_end import bundle_of, timed_calls, volume_of
from .records import tell
from .scale import Scale
from .timing import DEVICE, ON_CARD, watched


def end_to_end(job: str, name: str, scale: Scale) -> None:
    """Without mirrored copies and with them, the default; each after a run that compiles and allocates."""
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
    devices: list[str] = []
    if ON_CARD:
        torch.cuda.reset_peak_memory_stats()

    def report(progress: Progress) -> None:
        began.setdefault(progress.stage, time.perf_counter())

    start = time.perf_counter()
    # The CPU does not wait for the device's preprocessing: "before s" may be less than "preprocessing s".
    with (
        watched(FastNetwork, "forward") as passes,
        watched(
            pipeline, "preprocess", lambda image: devices.append(image.array.device.type)
        ) as preprocessing,
        timed_calls(LabelWriter, "add") as writing,  # the CPU waits for the device there
    ):
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
        "preprocessing s": sum(watch.milliseconds() for watch in preprocessing) / 1000,
        "preprocessed on": devices[-1],
        "before s": began["network"] - start,
        "tiles s": began["postprocessing"] - began["network"],
        "of it labels s": sum(writing),
        "after s": start + seconds - began["postprocessing"],
        "peak MiB": torch.cuda.max_memory_allocated() / 2**20 if ON_CARD else 0.0,
        "formulation": found.provenance["formulation"],
    }
