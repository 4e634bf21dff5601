"""What Slicer and the engine's process say to each other: voxels as files, events as lines of JSON.

The asking side writes `request.json` and one `channel_<n>.npy` per channel into a new folder; the engine maps
the channels into memory and adds `result.json`, `labelmap.npy` and, if asked for, `uncertainty.npy`.
Meanwhile it says on its standard output how far it is, one event per line:

    {"event": "progress", "stage": "network", "done": 3, "total": 8, "remaining_s": 4.2}
    {"event": "done"}
    {"event": "error", "error": "ChannelError", "message": "The model needs 4 channels, ..."}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import errors
from .fields import Fields
from .geometry import Geometry, Roi
from .labels import Label
from .segmentation import Segmentation

REQUEST_FILE = "request.json"
RESULT_FILE = "result.json"
LABELMAP_FILE = "labelmap.npy"
UNCERTAINTY_FILE = "uncertainty.npy"


@dataclass(frozen=True, eq=False)
class Channel:
    """One input image: `array` `(Z, Y, X)` of any real voxel type, on `geometry`; `name` is for messages."""

    name: str
    array: np.ndarray
    geometry: Geometry


@dataclass(frozen=True)
class Options:
    """How to segment; the meaning of each option is that of `mednext.segment`."""

    model: str
    device: str = "auto"
    folds: tuple[int, ...] | None = None
    mirroring: bool = True
    roi: Roi | None = None
    uncertainty: bool = False


def write_request(folder: Path, channels: Sequence[Channel], options: Options) -> None:
    """Write all that the engine needs for one run into an empty folder."""
    for number, channel in enumerate(channels):
        np.save(_channel_file(folder, number), channel.array, allow_pickle=False)
    request = {
        "channels": [{"name": channel.name, "geometry": asdict(channel.geometry)} for channel in channels],
        "options": asdict(options),
    }
    (folder / REQUEST_FILE).write_text(json.dumps(request), encoding="utf-8")


def read_request(folder: Path) -> tuple[list[Channel], Options]:
    """The request in a folder; its voxels stay on disk, mapped into memory."""
    request = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
    channels = [
        Channel(
            channel["name"],
            np.load(_channel_file(folder, number), mmap_mode="r", allow_pickle=False),
            Geometry(**channel["geometry"]),
        )
        for number, channel in enumerate(request["channels"])
    ]
    return channels, _read_options(request["options"])


def write_result(folder: Path, segmentation: Segmentation) -> None:
    """Write what the engine found beside the request."""
    np.save(folder / LABELMAP_FILE, segmentation.labelmap, allow_pickle=False)
    if segmentation.uncertainty is not None:
        np.save(folder / UNCERTAINTY_FILE, segmentation.uncertainty, allow_pickle=False)
    result = {
        "geometry": asdict(segmentation.geometry),
        "labels": [label.to_json() for label in segmentation.labels],
        "provenance": dict(segmentation.provenance),
    }
    (folder / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")


def read_result(folder: Path) -> Segmentation:
    """The segmentation in a folder, wholly in memory, so that the folder can go."""
    result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    uncertainty = folder / UNCERTAINTY_FILE
    return Segmentation(
        labelmap=np.load(folder / LABELMAP_FILE, allow_pickle=False),
        geometry=Geometry(**result["geometry"]),
        labels=tuple(
            Label.read(Fields(label, f"{RESULT_FILE}: labels[{number}]", errors.BundleFormatError))
            for number, label in enumerate(result["labels"])
        ),
        provenance=result["provenance"],
        uncertainty=np.load(uncertainty, allow_pickle=False) if uncertainty.exists() else None,
    )


def format_event(event: dict[str, Any]) -> str:
    """An event as a line."""
    return json.dumps(event) + "\n"


def parse_event(line: str) -> dict[str, Any]:
    """The event in a line; ValueError when it holds none."""
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ValueError(f"not an event: {line!r}")
    return event


def error_event(error: errors.MedNeXtError) -> dict[str, Any]:
    """The event that carries an error to the other side."""
    return {"event": "error", "error": type(error).__name__, "message": str(error)}


def error_from_event(event: dict[str, Any]) -> errors.MedNeXtError:
    """The error that an event carries, of the class that it had on the other side."""
    known = getattr(errors, event["error"], errors.MedNeXtError)
    return known(event["message"])


def _read_options(options: dict[str, Any]) -> Options:
    folds, roi = options.pop("folds"), options.pop("roi")
    return Options(
        **options,
        folds=None if folds is None else tuple(folds),
        roi=None if roi is None else Roi(tuple(roi["lower"]), tuple(roi["upper"])),
    )


def _channel_file(folder: Path, number: int) -> Path:
    return folder / f"channel_{number}.npy"
