"""A whole CT through our pipeline on the card: seconds of each stage, and the network's share of them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from mednext.images.volume import Volume
from mednext.inference import preprocessing
from mednext.inference.labelling.label_writer import LabelWriter
from mednext.inference.loaded_networks import LoadedNetworks
from mednext.inference.progress import Progress
from mednext.inference.segment import segment
from mednext.model.bundle import Bundle
from mednext.network.formulation import FastNetwork

from ..end_to_end import bundle_of, volume_of
from ..timing import seconds_of, timed_calls
from .records import tell
from .scale import DEVICE, ON_CARD, Scale


def end_to_end(job: str, name: str, scale: Scale) -> None:
    """Without mirrored copies and with them, the default; each after a run that compiles and allocates."""
    volume = volume_of(scale.voxels)
    with tempfile.TemporaryDirectory() as folder:
        networks = LoadedNetworks()
        bundle = bundle_of(Path(folder) / "model", scale.spec(name), scale.sides, (0, 1, 2))
        small = volume_of(scale.voxels if scale.tiny else (200, 200, 120))
        for mirroring in (False,) if scale.tiny else (False, True):
            _run(small, bundle, networks, mirroring)
            for again in ("",) if scale.tiny else ("", ", again"):
                values = _run(volume, bundle, networks, mirroring)
                tell(job, ("mirrored" if mirroring else "not mirrored") + again, **values)


def _run(volume: Volume, bundle: Bundle, networks: LoadedNetworks, mirroring: bool) -> dict[str, float | str]:
    began: dict[str, float] = {}
    if ON_CARD:
        torch.cuda.reset_peak_memory_stats()

    def report(progress: Progress) -> None:
        began.setdefault(progress.stage, time.perf_counter())

    start = time.perf_counter()
    # The CPU does not wait for the device's preprocessing: "before s" may be less than "preprocessing s".
    with (
        timed_calls(FastNetwork, "forward") as passes,
        timed_calls(preprocessing, "preprocess") as prepared,
        timed_calls(LabelWriter, "add") as writing,
    ):
        found = segment(
            volume, bundle, device=DEVICE.type, mirroring=mirroring, progress=report, networks=networks
        )
    seconds = time.perf_counter() - start
    network = seconds_of(passes)
    return {
        "s": seconds,
        "network s": network,
        "share": network / seconds,
        "passes": float(len(passes)),
        "preprocessing s": seconds_of(prepared),
        "before s": began["network"] - start,
        "tiles s": began["postprocessing"] - began["network"],
        "of it labels s": seconds_of(writing),
        "after s": start + seconds - began["postprocessing"],
        "peak MiB": torch.cuda.max_memory_allocated() / 2**20 if ON_CARD else 0.0,
        "formulation": found.provenance["formulation"],
    }
