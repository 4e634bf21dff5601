"""The record of a run, `run.json` beside its checkpoints: network, plan, split, schedule and beginning."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mednext.errors import OptionError
from mednext.system.atomic import replacing
from mednext.system.json_reading import json_text, read_json

FILE = "run.json"
_PACKAGES = ("slicer-mednext-segmentation", "torch", "nnunetv2", "batchgeneratorsv2", "monai", "numpy")
_IN_WORDS = {
    "network": "network",
    "plan_sha256": "plan",
    "labels": "labels",
    "regions_sha256": "order of the regions",
    "split_sha256": "split",
    "content_sha256": "data",
    "cases_sha256": "data",
    "orientation": "orientation of the images",
    "epochs": "number of epochs",
    "iterations": "number of steps in an epoch",
    "validation_iterations": "number of validation batches",
    "learning_rate": "learning rate",
    "warm_up_epochs": "warm-up",
    "start": "start weights",
    "start_sha256": "start weights",
    "seed": "seed",
}

_KINDS: dict[str, type[Any]] = {
    **dict.fromkeys(("epochs", "iterations", "seed"), int),
    **dict.fromkeys(("start", "plan_sha256", "split_sha256", "orientation"), str),
    "patch": list,
}
_LATER = ("cases_sha256", "orientation", "regions_sha256")  # which older records do not have


def digest(value: Any) -> str:
    """SHA-256 of a value that JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of Python and the packages that a training depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout
            continue
    return found


def read_record(fold_folder: Path) -> dict[str, Any] | None:
    """The record of a run; None where there is none.

    Raises:
        OptionError: it is damaged.
    """
    file = fold_folder / FILE
    if not file.exists():
        return None
    remedy = (
        "Begin the training anew with --again, or remove the file to export the finished folds without their "
        "history."
    )
    record = read_json(file, OptionError, remedy)
    if not _is_record(record):
        raise OptionError(f"{file} is no record of a training. {remedy}")
    return record


def _is_record(said: Any) -> bool:
    run, how = (said.get("run"), said.get("how")) if isinstance(said, dict) else (None, None)
    if not isinstance(run, dict) or not isinstance(how, dict):
        return False
    patch, versions = run.get("patch", []), how.get("versions", {})
    return (
        all(isinstance(run.get(key, kind()), kind) for key, kind in _KINDS.items())
        and all(isinstance(side, int) for side in patch)
        and isinstance(versions, dict)
        and all(isinstance(each, str) for each in versions.values())
    )


def write_record(fold_folder: Path, run: Mapping[str, Any], how: Mapping[str, Any]) -> None:
    """Write a run's identity, and its execution (precision, device, versions), which may change on resuming.

    Raises:
        OutputError, DiskSpaceError: it cannot be written.
    """
    with replacing(fold_folder / FILE) as temporary:
        text = json_text({"run": dict(run), "how": {**how, "versions": versions()}})
        temporary.write_text(text + "\n", encoding="utf-8")


def check_same_run(fold_folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse to go on with a training that was another one.

    Raises:
        OptionError: it differs, or nothing is recorded of it.
    """
    record = read_record(fold_folder)
    if record is None:
        raise OptionError(
            f"{fold_folder} holds a training of which nothing is recorded. Begin anew with --again, or train "
            "in another --workspace."
        )
    known = json.loads(json.dumps(wanted, default=str))
    former = {key: known[key] for key in _LATER if key in known} | record["run"]
    different = [key for key in known if former.get(key) != known[key]]
    if different:
        told = ", ".join(
            dict.fromkeys(
                f"{_IN_WORDS.get(key, key)} ({_short(record['run'].get(key))}, now {_short(known[key])})"
                for key in different
            )
        )
        raise OptionError(
            f"{fold_folder} holds a training with another {told}. Give the former values to go on with it, "
            "or begin anew with --again."
        )


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
