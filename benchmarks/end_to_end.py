"""A whole scan by nnU-Net v2's predictor and by our pipeline, with the same network, volume and step.

Both start with the image in memory and end with labels on its grid, without mirroring; networks are loaded
before. nnU-Net sums in fp32, as in `Testing/fixtures/models/nnunet_v2_judge.py`: its own fp16 sums change
labels.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference.labelling.label_writer import LabelWriter
from mednext.inference.loaded_networks import LoadedNetworks
from mednext.inference.progress import Progress
from mednext.inference.segment import segment
from mednext.library.model_by_name import load_bundle
from mednext.model.bundle import Bundle, write_bundle
from mednext.model.description import Channel, NetworkSpec
from mednext.model.labels import Label

from . import ROOT, Settings
from .candidates import CLASSES, Size
from .report import Row, table
from .timing import seconds_of, timed_calls

STAGES = ("preprocessing", "network", "postprocessing")
RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
SPACING = (0.8, 0.8, 1.5)  # mm along x, y, z; the model's is 1 mm
NNUNET, OURS, HALF = CANDIDATES = "nnU-Net v2", "ours, float32", "ours, bfloat16"


@dataclass(frozen=True)
class Result:
    """Labels `(Z, Y, X)`, seconds of each stage, and the formulation of the network."""

    labels: np.ndarray
    seconds: dict[str, float]
    formulation: str = "torch"


def measure(settings: Settings) -> str:
    """A table: seconds of each stage, and the share of labels that are equal to nnU-Net's."""
    size = Size.parse(settings.networks[0][0])
    voxels, patch_side = settings.pick(
        smoke=((32, 24, 24), 32), usual=((160, 160, 120), 96), long=((320, 320, 160), 128)
    )
    volume = volume_of(voxels)
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_of(Path(folder) / "model", size.spec(), (patch_side,) * 3)
        ways = _ways(volume, bundle)
        seen: dict[str, list[Result]] = {name: [] for name in ways}
        for _ in range(settings.rounds):
            for name, way in ways.items():
                seen[name].append(way())
    title = (
        f"MedNeXt-{size}, {'×'.join(map(str, voxels))} voxels of {'×'.join(map(str, SPACING))} mm at 1 mm, "
        f"patch {patch_side}³, {CLASSES} classes, medians of {settings.rounds} rounds"
    )
    return table(title, _rows(seen))


def _ways(volume: Volume, bundle: Bundle) -> dict[str, Callable[[], Result]]:
    """The candidates by name; ours has chosen its formulation before."""
    ways: dict[str, Callable[[], Result]] = {NNUNET: lambda: _by_nnunet(volume, bundle)}
    small = volume_of((16, 16, 16))
    for name in (OURS, HALF):
        precision, networks = name.split()[1], LoadedNetworks()
        _by_us(small, bundle, precision, networks)
        ways[name] = lambda precision=precision, networks=networks: _by_us(  # type: ignore[misc]
            volume, bundle, precision, networks
        )
    return ways


def _by_nnunet(volume: Volume, bundle: Bundle) -> Result:
    sys.path.insert(0, str(ROOT / "Testing"))
    from fixtures.models import nnunet_v2_judge as judge
    from pytest import MonkeyPatch

    with MonkeyPatch.context() as patcher:
        peer = judge.Judge(bundle, False, patcher)
        times = [time.perf_counter()]
        image, properties = judge.preprocess_by_nnunet(volume, bundle.model)
        times.append(time.perf_counter())
        logits = peer.logits(image)
        times.append(time.perf_counter())
        labels = peer.labels(logits, properties)
        times.append(time.perf_counter())
    return Result(labels, dict(zip(STAGES, np.diff(times).tolist(), strict=True)))


def _by_us(volume: Volume, bundle: Bundle, precision: str, networks: LoadedNetworks) -> Result:
    began: dict[str, float] = {}

    def report(progress: Progress) -> None:
        began.setdefault(progress.stage, time.perf_counter())

    with timed_calls(LabelWriter, "add") as writing:
        found = segment(volume, bundle, device="cpu", precision=precision, progress=report, networks=networks)
    end = time.perf_counter()
    rows = seconds_of(writing)  # labels are written row by row, while the network runs
    seconds = {
        "preprocessing": began["network"] - began["preprocessing"],
        "network": began["postprocessing"] - began["network"] - rows,
        "postprocessing": end - began["postprocessing"] + rows,
    }
    return Result(found.labelmap, seconds, found.provenance["formulation"])


def _rows(seen: dict[str, list[Result]]) -> Iterator[Row]:
    expected = seen[NNUNET][0].labels
    wholes = {
        name: statistics.median(sum(result.seconds.values()) for result in results)
        for name, results in seen.items()
    }
    for name, results in seen.items():
        parts = {
            f"{stage} s": statistics.median(result.seconds[stage] for result in results) for stage in STAGES
        }
        yield {
            "": f"{name} ({results[0].formulation})",
            **parts,
            "all s": wholes[name],
            "times nnU-Net": wholes[NNUNET] / wholes[name],
            "labels equal": f"{100 * float((results[0].labels == expected).mean()):.3f} %",
        }


def volume_of(voxels: tuple[int, int, int]) -> Volume:
    """Random tissue that varies over eight voxels or so, in HU, int16 as scanners store it."""
    shape = voxels[::-1]
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 1, *(max(2, side // 8) for side in shape), generator=generator)
    array = torch.nn.functional.interpolate(coarse, shape, mode="trilinear")[0] * 300
    return Volume(array.round().short().numpy(), Geometry(voxels, SPACING, direction=RAS))


def bundle_of(
    folder: Path, network: NetworkSpec, patch: tuple[int, int, int], mirror_axes: tuple[int, ...] = ()
) -> Bundle:
    """A model of this network with random weights, for a CT at 1 mm."""
    torch.manual_seed(0)
    weights = network.build().state_dict()
    model = replace(
        load_bundle("hippocampus").model,
        name=folder.name,
        network=network,
        channels=(Channel("CT", "CT", "ct", mean=0.0, std=150.0, lower=-400.0, upper=400.0),),
        labels=tuple(Label(value, f"label {value}", (255, 0, 0)) for value in range(1, network.num_classes)),
        patch=patch,
        mirror_axes=mirror_axes,
        field_of_view=None,
        location=None,
        accuracy=None,
    )
    return write_bundle(folder, model, {0: weights}, half=False)
