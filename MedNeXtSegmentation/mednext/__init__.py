"""MedNeXt segmentation of CT and MR volumes: the engine behind the 3D Slicer extension.

```python
from mednext import load_bundle, read_channels, segment

segmentation = segment(read_channels(["head.nii.gz"]), load_bundle("hippocampus"))
```
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .former_names import find_former_names

__version__ = "0.1.0"

# Resolved on first use: importing mednext must not import torch.
_EXPORTS = {
    "Geometry": "images.geometry",
    "Roi": "images.geometry",
    "Volume": "images.volume",
    "read_volume": "images.volume",
    "read_channels": "images.volume",
    "combine_channels": "images.volume",
    "Bundle": "model.bundle",
    "load_bundle": "library.model_by_name",
    "Progress": "inference.progress",
    "segment": "locating.segment",
    "Segmentation": "segmentation.result",
    "write_segmentation": "segmentation.export",
}

find_former_names()

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
