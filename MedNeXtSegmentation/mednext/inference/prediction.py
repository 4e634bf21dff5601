"""From an image on the model's grid to labels on the volume's, on a device as far as its memory suffices."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..segmentation.uncertainty_storage import to_float32
from ..system.devices import is_out_of_memory
from ..system.memory_settings import give_memory_back
from .ensemble import Ensemble
from .field_of_view import FieldOfView
from .labelling.label_writer import LabelWriter
from .labelling.largest_components import keep_largest_components
from .labelling.region import Extent, plan_extent
from .preprocessing import CPU, Preprocessed
from .progress import Progress, counter
from .run import Run
from .sliding_window import slide

Targets = tuple[
    np.ndarray, np.ndarray | None
]  # of labels and entropy `(Z, Y, X)`, in the model's orientation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Labels and uncertainty `(Z, Y, X)` on the grid of the volume, and the device that made them."""

    labels: np.ndarray
    uncertainty: np.ndarray | None
    device: torch.device


def predict(
    image: Preprocessed, seen: FieldOfView, networks: Sequence[nn.Module], run: Run, device: torch.device
) -> Prediction:
    """Labels, and uncertainty where it is wanted, of the volume that the image was made of.

    They are written where they belong, through views in the model's orientation.

    Args:
        image: the part of the volume that the model gets; it leaves a device whose memory runs out.
        networks: one for each fold.
        device: where the networks run if there is room, and the image is.
    """
    model, roi = run.model, run.options.roi
    largest = max(label.value for label in model.labels)
    labels = np.zeros(seen.whole.shape, dtype=np.uint8 if largest < 256 else np.uint16)
    entropy = np.zeros(seen.whole.shape, dtype=np.uint16) if run.options.uncertainty else None
    extent = plan_extent(image, model, roi.box_in(seen.oriented) if roi else None, run.step)
    if extent is None:
        logger.warning("The region of interest holds nothing but zeros: nothing to segment there.")
    else:
        targets = seen.view(labels), None if entropy is None else seen.view(entropy)
        device = _predict_stepping_down(networks, image, extent, run, targets, device)
    give_memory_back()
    run.progress(Progress("postprocessing", 0, 1))
    fully_connected = model.pipeline == "nnunet_v2"
    keep_largest_components(labels[seen.box], model.kept_largest, fully_connected)
    uncertainty = None if entropy is None else to_float32(entropy)
    run.progress(Progress("postprocessing", 1, 1))
    return Prediction(labels, uncertainty, device)


def _predict_stepping_down(
    networks: Sequence[nn.Module],
    image: Preprocessed,
    extent: Extent,
    run: Run,
    targets: Targets,
    device: torch.device,
) -> torch.device:
    """Predict on the device; when its memory runs out, keep image and sums on the CPU, then do all there.

    Every attempt writes every label anew. Returns the device that the networks ran on in the end.
    """
    rungs = [(device, device), (device, CPU), (CPU, CPU)] if device.type != "cpu" else [(CPU, CPU)]
    for network_device, sum_device in rungs[:-1]:
        try:
            _predict(networks, image, extent, run, targets, (network_device, sum_device))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            run.remark_full_memory(network_device, sum_device)
        else:
            return network_device
        image.move_to_cpu()  # after the exception, whose frames keep the array
        if device.type == "cuda":
            torch.cuda.empty_cache()
    _predict(networks, image, extent, run, targets, rungs[-1])
    return CPU


def _predict(
    networks: Sequence[nn.Module],
    image: Preprocessed,
    extent: Extent,
    run: Run,
    targets: Targets,
    devices: tuple[torch.device, torch.device],
) -> None:
    """Slide the networks over the image and fill in labels and entropy where the extent wants them.

    `devices` are those of the networks and of the sums.
    """
    model, axes = run.model, extent.axes
    ensemble = Ensemble(
        networks,
        model,
        devices[0],
        run.mirror_axes,
        run.options.uncertainty,
        on_fold=counter(run.progress, "network", extent.tiles * len(run.folds)),
        cancelled=run.cancelled,
    )
    source = image.array[(slice(None), *extent.source)]
    blocks = slide(source, ensemble.predict, ensemble.outputs, model.patch, run.step, devices[1], axes)
    labels = targets[0][extent.target].transpose(axes)
    entropy = None if targets[1] is None else targets[1][extent.target].transpose(axes)
    weights = [extent.weights[axis].to(devices[1]) for axis in axes]
    LabelWriter(model, weights, labels, entropy).write(blocks)
    if ensemble.overflowed:
        run.remark("The network overflowed in half precision: full precision was used, which takes longer.")
