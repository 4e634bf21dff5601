"""What can be said of a file of weights without torch: whether it is the right one, and whole.

The layout is that of https://github.com/huggingface/safetensors: the length of a header, the header as JSON,
and the numbers of all tensors in one row.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

from .errors import BundleIntegrityError
from .fields import no_repeats
from .paths import check_regular

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100 * 2**20  # safetensors' own limit


def check_weights(path: Path, sha256: str) -> None:
    """Check that a file of weights is the one of this SHA-256, and holds whole tensors of floating point.

    Whether they fit the network is found out when they are loaded, as that needs torch.

    Raises:
        BundleIntegrityError: the file is missing, damaged, another one, or no safetensors file.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            start = file.read(_LENGTH.size)
            length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
            header = file.read(length) if length <= _LONGEST_HEADER else b""
        rest = path.stat().st_size - _LENGTH.size - length
    except OSError as cause:
        raise unreadable(path, cause) from cause
    if found != sha256:
        raise changed(path, found, sha256)
    try:
        _check_tensors(json.loads(header, object_pairs_hook=no_repeats), rest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise BundleIntegrityError(f"{path} is not a safetensors file: {cause}.") from cause


def unreadable(path: Path, cause: OSError) -> BundleIntegrityError:
    """The error of a file that is missing or forbidden."""
    return BundleIntegrityError(
        f"The weights {path} cannot be read: {cause.strerror or cause}. Install the model again."
    )


def changed(path: Path, found: str, expected: str) -> BundleIntegrityError:
    """The error of a file that is not the one of `model.json`."""
    return BundleIntegrityError(
        f"The weights {path} are damaged or were changed: their SHA-256 is {found}, but model.json says "
        f"{expected}. Install the model again."
    )


def _check_tensors(header: dict[str, Any], data_bytes: int) -> None:
    """Raise for anything but tensors that follow each other without a gap and fill the file."""
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor["data_offsets"][0]):
        begin, stop = tensor["data_offsets"]
        if any(type(number) is not int or number < 0 for number in (begin, stop, *tensor["shape"])):
            raise ValueError("its header has numbers that are no sizes")
        if begin != end or stop - begin != math.prod(tensor["shape"]) * _BYTES[tensor["dtype"]]:
            raise ValueError("its tensors are not where its header says")
        end = stop
    if not tensors or end != data_bytes:
        raise ValueError(f"its header tells of {end} bytes, but it holds {data_bytes}")
