"""MedNeXt on OpenVINO, where that optional package is installed: the extra `openvino` of this one."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from . import openvino_cache
from .atomic import replacing_folder
from .errors import OutputError
from .network import SIDE_DIVISOR, MedNeXt

logger = logging.getLogger(__name__)


def is_installed() -> bool:
    """Whether OpenVINO is there; nothing is imported."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoMedNeXt(nn.Module):
    """A trained network on OpenVINO, for inference in float32 on the CPU.

    The network is converted once, and kept in the user's cache folder (`openvino_cache`) under the digest
    of its weights and OpenVINO's version: the folder of a model may be read-only. Where nothing can be kept,
    every process converts it anew.

    Args:
        network: in evaluation mode and on the CPU.
    """

    def __init__(self, network: MedNeXt) -> None:
        super().__init__()
        openvino = _import_openvino()
        self._core = openvino.Core()
        self._model = _converted(network, self._core)
        self._compiled: dict[tuple[tuple[int, ...], int], Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, Z, Y, X)` to logits `(N, num_classes, Z, Y, X)`."""
        threads = torch.get_num_threads()
        key = (tuple(x.shape), threads)
        if key not in self._compiled:
            self._compiled.clear()  # each holds its activations
            self._model.reshape(list(x.shape))
            # Without the hint it computes in bfloat16 where the processor has it.
            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
            self._compiled[key] = self._core.compile_model(self._model, "CPU", settings)
        return torch.from_numpy(self._compiled[key](x.contiguous().numpy())[0].copy())


def _import_openvino() -> Any:
    """OpenVINO without its telemetry, which tells its makers of every conversion unless somebody objected."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it then takes its own stub
    import openvino

    return openvino


def _converted(network: MedNeXt, core: Any) -> Any:
    """The converted network: from the cache, where it is put for the next process."""
    folder = openvino_cache.conversion_folder(network.weights_sha256, _digest(network))
    if openvino_cache.is_whole(folder):
        return core.read_model(folder / openvino_cache.MODEL_FILE)
    openvino = _import_openvino()
    example = torch.zeros(1, network.in_channels, *(2 * SIDE_DIVISOR,) * network.dimensions)
    shape = [-1, network.in_channels, *(-1,) * network.dimensions]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing fixes the checks of the image's sides, as it should
        model = openvino.convert_model(network, example_input=example, input=[shape])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        openvino_cache.remove_unused()
        with replacing_folder(folder) as temporary:
            openvino.save_model(model, temporary / openvino_cache.MODEL_FILE, compress_to_fp16=False)
            openvino_cache.seal(temporary)
    except (OSError, OutputError) as error:
        logger.warning("The network that was converted for OpenVINO is not kept: %s", error)
        return model
    return core.read_model(folder / openvino_cache.MODEL_FILE)


def _digest(network: MedNeXt) -> str:
    """Of all that a conversion depends on."""
    digest = hashlib.sha256(_import_openvino().__version__.encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()
