"""From volumes to a segmentation: the only place that knows the order of the steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import DeviceLostError, OutOfMemoryError
from ..images.volume import Volume
from ..inputs.checked_volumes import checked_volume
from ..library.model_by_name import load_bundle
from ..model.bundle import Bundle
from ..network.apple_gpu_check import trouble
from ..network.formulation import FastNetwork
from ..segmentation.intensities import INTENSITIES, intensities, to_words
from ..segmentation.provenance import run_words
from ..segmentation.result import Segmentation
from ..system.devices import choose_device, cpu_threads, device_name, is_lost, is_out_of_memory
from ..system.memory_settings import give_memory_back
from .field_of_view import field_of_view
from .loaded_networks import LoadedNetworks
from .memory.check import check_run
from .options import Options
from .prediction import predict
from .preprocessing import CPU, preprocess_for
from .progress import Progress
from .run import Run


def segment(
    volumes: Volume | Iterable[Volume],
    bundle: Bundle | str | Path,
    options: Options | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    networks: LoadedNetworks | None = None,
    **changes: Any,
) -> Segmentation:
    """Segment a volume with a model.

        segmentation = segment(read_channels(["head.nii.gz"]), load_bundle("hippocampus"), mirroring=False)

    The result does not depend on how the volume's axes are stored: everything happens in the model's
    orientation, and the labels are brought back.

    Args:
        volumes: one volume with all channels, or one volume per channel in the model's order; these are
            brought onto the first one's grid. An iterator that keeps none of them (`handed_over`) lets their
            memory go once they are on the model's grid.
        bundle: the model, its name or its folder.
        options: see `Options`; by default its defaults.
        progress: called after every step of every stage.
        cancelled: asked before every pass through a network; True ends the run.
        networks: those of the run before, reused if they fit; afterwards those of this run.
        changes: single options by their names, such as `folds=(0,)`; they replace those in `options`.

    Returns:
        Labels on the grid of the (first) volume.

    Raises:
        ChannelError: not the channels that the model needs.
        InputError: an image that cannot be segmented.
        SuspectInputError: an image that looks certainly wrong, without `insist`.
        BundleError, UnknownModelError: the model cannot be used.
        OptionError: an option out of its range.
        DeviceError: the device is missing.
        DeviceLostError: it failed in the middle of the run; its results would be wrong, and there are none.
        OutOfMemoryError: no device has enough memory, or the plan exceeds the machine's.
        NumericalError: the network gave NaN or infinite values.
        Cancelled: `cancelled` returned True.
    """
    begin = time.monotonic()
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    model = bundle.model
    options = replace(options or Options(), **changes)
    folds, origin = options.folds_of(model), options.recipe(model)
    for fold in folds:
        bundle.fold(fold)
    step, mirror_axes = options.step_of(model), options.mirror_axes_of(model)
    run = Run(bundle, options, folds, step, mirror_axes, progress or (lambda _: None), cancelled)
    networks = LoadedNetworks() if networks is None else networks
    device = choose_device(options.device)
    with cpu_threads(options.threads):
        volume = checked_volume(volumes, model, options.insist)
    whole = volume.geometry
    check_run(volume, model, options, device.type)
    for warning in volume.warnings:
        run.remark(warning, "reading")
    try:
        with cpu_threads(options.threads), torch.inference_mode():
            seen = field_of_view(whole, model, options.roi)
            loaded = networks.load(bundle, folds, options.precision_used, run.progress)
            device = _usable(device, loaded, run)
            image = preprocess_for(run, volume, seen, device)
            images = volume.array if options.intensities else None
            del volume, volumes
            give_memory_back()  # pieces freed by preprocessing have other sizes than the next ones
            found = predict(image, seen, loaded, run, device)
            _tell_failures(run, loaded)
    except (MemoryError, RuntimeError) as error:
        if is_lost(error):
            raise _lost(device, error) from error
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"There is not enough memory to segment an image of {whole.size} voxels with model "
            f"{model.name!r}. Close other programs, limit the work to a region, or use fewer folds."
        ) from error
    origin |= run_words(found.device, time.monotonic() - begin)
    origin["quality"] = options.quality_of(model)
    origin["formulation"] = _formulations(folds, loaded)
    if images is not None:
        measured = intensities(found.labels, images, model.channels, model.labels, model.regions)
        origin[INTENSITIES] = to_words(measured)
    warnings = [*filter(None, [seen.warning]), *run.remarks]
    origin |= {"warning": " ".join(warnings)} if warnings else {}
    return Segmentation(
        found.labels, whole, model.labels, origin, found.uncertainty, model.regions
    ).telling_regions()


def _tell_failures(run: Run, networks: Sequence[FastNetwork]) -> None:
    """Remark on formulations that failed in this run."""
    failed = dict.fromkeys(name for network in networks for name in network.take_failures())
    if failed:
        run.remark(
            f"A fast way to compute the network failed ({', '.join(failed)}) and was replaced by a slower "
            f"one ({_formulations(run.folds, networks)}), with the same result; the log has the reason.",
        )


def _lost(device: torch.device, error: Exception) -> DeviceLostError:
    """A card that failed fails in every later call, so that not even the image can be fetched from it."""
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return DeviceLostError(
        f"The device {device} failed in the middle of the run ({first}), and there is no result. Run again; "
        "if it fails again, choose the CPU as device, or update the driver."
    )


def _formulations(folds: Sequence[int], networks: Sequence[FastNetwork]) -> str:
    """The formulation of the networks, or of each fold where they differ."""
    names = [network.formulation for network in networks]
    if len(set(names)) == 1:
        return names[0]
    return ", ".join(f"fold {fold} {name}" for fold, name in zip(folds, names, strict=True))


def _usable(device: torch.device, networks: Sequence[nn.Module], run: Run) -> torch.device:
    """The device, or the CPU for an Apple GPU that cannot compute the network, or computes it wrongly."""
    if device.type == "mps" and (reason := trouble(_plain(networks[0]), device)):
        remark = f"The networks ran on the CPU, since {device_name(device)} cannot compute them: {reason}."
        run.remark(remark, "preprocessing")
        return CPU
    return device


def _plain(network: nn.Module) -> nn.Module:
    return network.plain if isinstance(network, FastNetwork) else network
