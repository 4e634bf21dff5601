"""From volumes to a segmentation: the only place that knows the order of the steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import DeviceLostError, OutOfMemoryError
from ..images.geometry import Geometry, reorient_array
from ..images.volume import Volume, combine_channels
from ..inputs.checked_volumes import checked_volumes
from ..library.model_by_name import load_bundle
from ..model.bundle import Bundle
from ..model.description import Model
from ..network.apple_gpu_check import trouble
from ..network.formulation import FastNetwork
from ..segmentation.intensities import INTENSITIES, intensities, to_words
from ..segmentation.provenance import run_words
from ..segmentation.result import Segmentation
from ..segmentation.uncertainty_storage import to_float32
from ..system.devices import choose_device, cpu_threads, device_name, is_lost, is_out_of_memory
from ..system.memory_settings import give_memory_back
from .ensemble import Ensemble
from .field_of_view import FieldOfView, field_of_view
from .loaded_networks import LoadedNetworks
from .memory.check import check_memory
from .memory.plan import device_kind, plan_memory, planned_run
from .options import Options
from .postprocessing import LabelWriter, keep_largest_components
from .preprocessing import CPU, Preprocessed, preprocess
from .progress import Progress, counter
from .region import Extent, plan_extent
from .sliding_window import slide
from .tiles import count_tiles

PREPROCESSING_DEVICES = ("cuda",)  # beside the CPU; Apple's have no float64

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """One run: its model, the checked options, and the remarks for the user."""

    bundle: Bundle
    options: Options
    folds: tuple[int, ...]
    step: float
    mirror_axes: tuple[int, ...]
    progress: Callable[[Progress], None]
    cancelled: Callable[[], bool] | None
    networks: LoadedNetworks
    remarks: list[str] = field(default_factory=list)

    @property
    def model(self) -> Model:
        return self.bundle.model


@dataclass(eq=False)
class _Subject:
    """A volume on the model's grid.

    Attributes:
        image: the input of the networks, on their device as long as there is room.
        oriented: grid of the part of the volume that the model gets, in the model's orientation.
    """

    image: Preprocessed
    oriented: Geometry


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
    chosen = choose_device(options.device)
    with cpu_threads(options.threads):
        volume = checked_volume(volumes, model, options.insist)
        whole = volume.geometry
    run = _Run(
        bundle,
        options,
        folds,
        options.step_of(model),
        options.mirror_axes_of(model),
        progress or (lambda _: None),
        cancelled,
        LoadedNetworks() if networks is None else networks,
    )
    voxel_bytes = [volume.array.itemsize] * len(volume.array)
    planned = planned_run(model, options, whole, voxel_bytes, device_kind(chosen.type))
    check_memory(model, whole, plan_memory(model, planned).more, volume.name(0))
    for warning in volume.warnings:
        _remark(run, warning, "reading")
    try:
        with cpu_threads(options.threads), torch.inference_mode():
            seen = field_of_view(whole, model, options.roi)
            loaded = run.networks.load(bundle, run.folds, options.precision_used, run.progress)
            chosen = _usable(chosen, loaded, run)
            subject = _prepared(volume, seen, run, chosen)
            images = volume.array if options.intensities else None
            del volume, volumes
            give_memory_back()  # pieces freed by preprocessing have other sizes than the next ones
            labels, uncertain, used = _label(subject, seen, loaded, run, chosen)
            _tell_failures(run, loaded)
    except (MemoryError, RuntimeError) as error:
        if is_lost(error):
            raise _lost(chosen, error) from error
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"There is not enough memory to segment an image of {whole.size} voxels with model "
            f"{model.name!r}. Close other programs, limit the work to a region, or use fewer folds."
        ) from error
    origin |= run_words(used, time.monotonic() - begin)
    origin["quality"] = options.quality_of(model)
    origin["formulation"] = _formulations(run.folds, loaded)
    if images is not None:
        measured = intensities(labels, images, model.channels, model.labels, model.regions)
        origin[INTENSITIES] = to_words(measured)
    warnings = [*filter(None, [seen.warning]), *run.remarks]
    origin |= {"warning": " ".join(warnings)} if warnings else {}
    return Segmentation(labels, whole, model.labels, origin, uncertain, model.regions).telling_regions()


def _tell_failures(run: _Run, networks: Sequence[FastNetwork]) -> None:
    """Remark on formulations that failed in this run."""
    failed = dict.fromkeys(name for network in networks for name in network.take_failures())
    if failed:
        _remark(
            run,
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


def checked_volume(volumes: Volume | Iterable[Volume], model: Model, insist: bool) -> Volume:
    """All channels of a model on one grid, checked. Raises the errors of `segment` about images."""
    several, warnings = checked_volumes(volumes, model, insist)
    one = several[0] if len(several) == 1 else combine_channels(several)
    return replace(one, warnings=(*one.warnings, *warnings))


def _usable(device: torch.device, networks: Sequence[nn.Module], run: _Run) -> torch.device:
    """The device, or the CPU for an Apple GPU that cannot compute the network, or computes it wrongly."""
    if device.type == "mps" and (reason := trouble(_plain(networks[0]), device)):
        remark = f"The networks ran on the CPU, since {device_name(device)} cannot compute them: {reason}."
        _remark(run, remark, "preprocessing")
        return CPU
    return device


def _prepared(volume: Volume, seen: FieldOfView, run: _Run, device: torch.device) -> _Subject:
    """The volume on the model's grid, made and kept by a card that has room for it, else by the CPU."""
    run.progress(Progress("preprocessing", 0, 1))
    part = volume.array[(slice(None), *seen.box)]
    array, oriented = reorient_array(part, seen.whole.cropped(seen.box), run.model.orientation)
    moved = Volume(array, oriented, volume.names)
    image = _preprocessed_there(moved, run, device) if device.type in PREPROCESSING_DEVICES else None
    if image is None:
        image = preprocess(moved, run.model)
    run.progress(Progress("preprocessing", 1, 1))
    return _Subject(image, oriented)


def _preprocessed_there(volume: Volume, run: _Run, device: torch.device) -> Preprocessed | None:
    """None, and a remark, if the memory of the device runs out."""
    try:
        return preprocess(volume, run.model, device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    _remark(run, _step_down_remark(device, device), "preprocessing")
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _label(
    subject: _Subject, seen: FieldOfView, networks: Sequence[nn.Module], run: _Run, device: torch.device
) -> tuple[np.ndarray, np.ndarray | None, torch.device]:
    """Labels and uncertainty `(Z, Y, X)` on the grid of the whole volume, and the device that made them.

    They are written where they belong, through views in the model's orientation.
    """
    model, oriented = run.model, subject.oriented
    largest = max(label.value for label in model.labels)
    labels = np.zeros(seen.whole.shape, dtype=np.uint8 if largest < 256 else np.uint16)
    entropy = np.zeros(seen.whole.shape, dtype=np.uint16) if run.options.uncertainty else None
    grid = seen.whole.cropped(seen.box)

    def oriented_view(array: np.ndarray) -> np.ndarray:
        return reorient_array(array[seen.box], grid, model.orientation)[0]

    wanted = run.options.roi.box_in(oriented) if run.options.roi else None
    extent = plan_extent(subject.image, model, wanted, run.step)
    if extent is None:
        logger.warning("The region of interest holds nothing but zeros: nothing to segment there.")
    else:
        uncertain = None if entropy is None else oriented_view(entropy)
        device = _predict_stepping_down(
            networks, subject, extent, run, oriented_view(labels), uncertain, device
        )
    give_memory_back()
    run.progress(Progress("postprocessing", 0, 1))
    keep_largest_components(
        labels[seen.box], model.kept_largest, fully_connected=model.pipeline == "nnunet_v2"
    )
    uncertainty = None if entropy is None else to_float32(entropy)
    run.progress(Progress("postprocessing", 1, 1))
    return labels, uncertainty, device


def _predict_stepping_down(
    networks: Sequence[nn.Module],
    subject: _Subject,
    extent: Extent,
    run: _Run,
    labels: np.ndarray,
    entropy: np.ndarray | None,
    device: torch.device,
) -> torch.device:
    """Predict on the device; when its memory runs out, keep image and sums on the CPU, then do all there.

    Every attempt writes every label anew. Returns the device that the networks ran on in the end.
    """
    rungs = [(device, device), (device, CPU), (CPU, CPU)] if device.type != "cpu" else [(CPU, CPU)]
    for network_device, sum_device in rungs[:-1]:
        try:
            _predict(networks, subject.image, extent, run, labels, entropy, (network_device, sum_device))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            _remark(run, _step_down_remark(network_device, sum_device))
        else:
            return network_device
        subject.image = subject.image.on_cpu()  # after the exception, whose frames keep the image
        if device.type == "cuda":
            torch.cuda.empty_cache()
    _predict(networks, subject.image, extent, run, labels, entropy, rungs[-1])
    return CPU


def _plain(network: nn.Module) -> nn.Module:
    return network.plain if isinstance(network, FastNetwork) else network


def _step_down_remark(network_device: torch.device, sum_device: torch.device) -> str:
    full = f"The memory of {device_name(network_device)} was full"
    if sum_device.type != "cpu":
        return f"{full}: a part of the work moved to the computer's memory, which takes a little longer."
    return (
        f"{full}: the networks ran on the CPU, which takes much longer. Limit the work to a region, or end "
        "other programs that use the device."
    )


def _remark(run: _Run, remark: str, stage: str = "network") -> None:
    """Report a remark now, and keep it with the result; a repeated one is only logged."""
    logger.warning(remark)
    if remark not in run.remarks:
        run.remarks.append(remark)
        run.progress(Progress(stage, 0, 1, remark=remark))


def _predict(
    networks: Sequence[nn.Module],
    image: Preprocessed,
    extent: Extent,
    run: _Run,
    labels: np.ndarray,
    entropy: np.ndarray | None,
    devices: tuple[torch.device, torch.device],
) -> None:
    """Slide the networks over the image and fill in labels and entropy where the extent wants them.

    `devices` are those of the networks and of the sums.
    """
    model, axes = run.model, extent.axes
    data = image.array[(slice(None), *extent.source)]
    tiles = count_tiles(data.shape[1:], model.patch, run.step)
    ensemble = Ensemble(
        networks,
        model,
        devices[0],
        run.mirror_axes,
        run.options.uncertainty,
        on_fold=counter(run.progress, "network", tiles * len(run.folds)),
        cancelled=run.cancelled,
    )
    writer = LabelWriter(
        model,
        [extent.weights[axis].to(devices[1]) for axis in axes],
        labels[extent.target].transpose(axes),
        None if entropy is None else entropy[extent.target].transpose(axes),
    )
    writer.write(slide(data, ensemble.predict, ensemble.outputs, model.patch, run.step, devices[1], axes))
    if ensemble.overflowed:
        _remark(run, "The network overflowed in half precision: full precision was used, which takes longer.")
