"""The outcome of a case as a row of the report: left out, failed or done.

A failure of one case is its row; an error that every other case would raise too ends the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from ..errors import (
    BundleError,
    Cancelled,
    DeviceError,
    DiskSpaceError,
    MedNeXtError,
    MissingPackageError,
    OptionError,
    OutOfMemoryError,
    ServerError,
    UnknownModelError,
)
from ..model.sides import asymmetry_in
from ..segmentation.intensities import of_structures
from .case import Case
from .report import DONE, FAILED, LEFT_OUT, Row

# Errors that every other case would raise too.
_ENDS_ALL = (
    Cancelled,
    BundleError,
    DeviceError,
    DiskSpaceError,
    MissingPackageError,
    OptionError,
    ServerError,
    UnknownModelError,
)

_KNOWN = ("model", "model_version", "model_sha256", "mednext", "device", "time", "seconds", "warning")

Made = TypeVar("Made")

logger = logging.getLogger(__name__)


def settled(case: Case) -> Row | None:
    """The row of a case that needs no run; None for one that does."""
    if case.problem:
        return failed(case, case.problem)
    if case.left_out:
        return Row(case.name, LEFT_OUT, case.source, message=case.left_out)
    return None


def outcome(case: Case, work: Callable[[], Made]) -> Made | Row:
    """The result of `work`, or the row of its failure. Raises as `failure` does."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # boundary: no failure of one case stops the others
        return failure(case, error)


def failure(case: Case, error: Exception) -> Row:
    """The row of a case that failed with this error. Raises errors that every other case would raise too."""
    if isinstance(
        error, OutOfMemoryError
    ):  # this image is too large; other errors of the device hold for all
        return failed(case, error)
    if isinstance(error, _ENDS_ALL):
        raise error
    if isinstance(error, MemoryError):
        return failed(case, OutOfMemoryError("There is not enough memory for this image."))
    if not isinstance(error, MedNeXtError):
        logger.error("The case %s failed.", case.name, exc_info=error)
    return failed(case, error)


def with_model(row: Row, recipe: Mapping[str, str]) -> Row:
    """The row with the batch's model where it names none."""
    if row.model:
        return row
    name, version, sha256 = (recipe[key] for key in ("model", "model_version", "model_sha256"))
    return replace(row, model=name, model_version=version, model_sha256=sha256)


def done(
    case: Case, output: str, known: Mapping[str, str], volumes_ml: Mapping[str, float], warning: str = ""
) -> Row:
    """The row of a finished case; `known` is the provenance of its result."""
    texts = {name: known.get(name, "") for name in _KNOWN}
    texts["warning"] = texts["warning"] or warning
    return Row(
        case.name,
        DONE,
        case.source,
        output,
        **texts,
        volumes_ml=dict(volumes_ml),
        intensities=of_structures(known, list(volumes_ml)),
        asymmetry_percent=asymmetry_in(known),
    )


def failed(case: Case, error: Exception) -> Row:
    """The row of a case that this error ended."""
    return Row(case.name, FAILED, case.source, error=type(error).__name__, message=str(error))
