"""Read the pickles of foreign checkpoints without running any code that they name.

A pickle is a program. Here it may only build plain containers, numbers, texts, arrays and tensors: every
other name that it wants to import is refused before it is looked up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, UnsafeCheckpointError
from ...system.file_names import check_regular
from .machine import PickleMachine, UnknownNameError
from .torch_file import read_torch_file
from .values import check_tree, names_of_numpy, names_of_python

logger = logging.getLogger(__name__)

_MAX_PICKLE_BYTES = 2**28


def load_pickle(path: Path) -> Any:
    """The contents of a `.pkl` file: containers, numbers, texts, numpy arrays.

    Raises:
        UnsafeCheckpointError: the pickle names anything else; no code of it was run.
        CheckpointError: the file cannot be read, is truncated, or is not a pickle.
    """
    return _guarded(path, _read_pickle, "a pickle", "Copy it again")


def load_torch(path: Path, removed: list[str] | None = None) -> Any:
    """The contents of a file of `torch.save`, on the CPU: tensors, and the values of `load_pickle`.

    Args:
        path: the file.
        removed: gets the key and the class of each entry that was left out, as it is an object of a training
            program's own class.

    Raises:
        UnsafeCheckpointError: the file names anything else; no code of it was run.
        CheckpointError: the file cannot be read, is truncated, or was not written by `torch.save`.
    """
    left_out: list[str] = [] if removed is None else removed
    remedy = "Copy it again, or save the network's state_dict() with torch.save"
    return _guarded(path, lambda file: read_torch_file(file, left_out), "a checkpoint of torch", remedy)


def _read_pickle(path: Path) -> Any:
    size = path.stat().st_size
    if size > _MAX_PICKLE_BYTES:
        raise CheckpointError(f"{path} has {size} bytes, which is too large for the plans of a model.")
    machine = PickleMachine(names_of_numpy() | names_of_python())
    return check_tree(machine.run(BytesIO(path.read_bytes())))


def _guarded(path: Path, read: Callable[[Path], Any], kind: str, remedy: str) -> Any:
    """The value that `read` returns; any error becomes a `CheckpointError`."""
    try:
        check_regular(path)
        return read(path)
    except CheckpointError:
        raise
    except UnknownNameError as cause:
        raise UnsafeCheckpointError(
            f"{path} asks for {cause.name}, which a checkpoint has no use for and which could harm this "
            "computer. Nothing of it was run. Get the checkpoint from a source you trust; of your own "
            "network save the state_dict() alone."
        ) from cause
    except Exception as cause:  # boundary: a damaged file makes its readers raise anything
        logger.debug("%s cannot be read", path, exc_info=True)
        if isinstance(cause, OSError) and cause.strerror:
            raise CheckpointError(f"{path} cannot be read: {cause.strerror}.") from cause
        raise CheckpointError(f"{path} is truncated or not {kind} ({_reason(cause)}). {remedy}.") from cause


def _reason(cause: Exception) -> str:
    text = " ".join((str(cause) or type(cause).__name__).split())
    return text if len(text) <= 160 else text[:157] + "..."
