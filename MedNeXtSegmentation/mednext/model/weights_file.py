"""Check a file of weights without torch: its SHA-256, and its layout.

The layout is that of https://github.com/huggingface/safetensors: the length of a header, the header as JSON,
then the numbers of all tensors.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BundleIntegrityError
from ..system.file_names import check_regular
from ..system.json_reading import parse_json

logger = logging.getLogger(__name__)

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # and the bytes of a number
_OTHERS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
LENGTH_BYTES = 8
_LONGEST_HEADER = 16 * 2**20  # that of MedNeXt-L has 150 KB
_MAX_DIMENSIONS = 16


def check_weights(path: Path, sha256: str) -> None:
    """Check that a file of weights has this SHA-256, and holds whole tensors of floating point.

    Loading checks whether they fit the network, since that needs torch.

    Raises:
        BundleIntegrityError: the file is missing, damaged, another one, or not a safetensors file.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            length = header_length(file.read(LENGTH_BYTES))
            header = file.read(length)
        rest = path.stat().st_size - LENGTH_BYTES - length
    except OSError as cause:
        raise unreadable(path, cause) from cause
    if found != sha256:
        raise changed(path, found, sha256)
    check_layout(path, header, rest)


def header_length(start: bytes) -> int:
    """The length of the header, from the first eight bytes; 0 for an impossible one."""
    length = int.from_bytes(start, "little") if len(start) == LENGTH_BYTES else 0
    return length if length <= _LONGEST_HEADER else 0


def check_layout(path: Path, header: bytes, data_bytes: int, *, floats_only: bool = True) -> None:
    """Check that a header describes whole tensors that fill the rest of the file.

    Args:
        floats_only: refuse tensors of whole numbers, such as the counters of a training program.

    Raises:
        BundleIntegrityError: it does not.
    """
    try:
        _check_tensors(parse_json(header), data_bytes, _FLOATS if floats_only else _FLOATS | _OTHERS)
    except Exception as cause:  # boundary: the header of a stranger's file
        logger.debug("%s cannot be read", path, exc_info=True)
        raise BundleIntegrityError(
            f"{path} is not a safetensors file ({type(cause).__name__}: {cause}). Get the model again."
        ) from cause


def unreadable(path: Path, cause: OSError) -> BundleIntegrityError:
    """The error for a file that is missing or forbidden."""
    return BundleIntegrityError(
        f"The weights {path} cannot be read: {cause.strerror or cause}. Install the model again."
    )


def changed(path: Path, found: str, expected: str) -> BundleIntegrityError:
    """The error for a file with another SHA-256 than `model.json` has."""
    return BundleIntegrityError(
        f"The weights {path} are damaged or were changed: their SHA-256 is {found}, but model.json says "
        f"{expected}. Install the model again."
    )


def _check_tensors(header: dict[str, Any], data_bytes: int, types: Mapping[str, int]) -> None:
    """Raise for anything but tensors that follow each other without a gap and fill the file."""
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are no texts")
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (begin, stop), shape = tensor["data_offsets"], tensor["shape"]
        numbers = [begin, stop, *shape]
        if len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise ValueError("its header has numbers that are no sizes")
        if tensor["dtype"] not in types:
            raise ValueError(f"{name} has the type {tensor['dtype']}, which is none of {', '.join(types)}")
        if begin != end or stop - begin != math.prod(shape) * types[tensor["dtype"]]:
            raise ValueError("its tensors are not where its header says")
        end = stop
    if not header or end != data_bytes:
        raise ValueError(f"its header describes {end} bytes, but it holds {data_bytes}")
