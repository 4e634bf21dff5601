"""Write NIfTI files of version 1, with the qform and the sform of the image's own file."""

from __future__ import annotations

import gzip
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ...errors import OutputError
from ..geometry import Geometry
from ..nifti_forms import both_forms
from .nifti_header import DATA_START, HEADER_BYTES, TYPES

_LONGEST_AXIS = 2**15 - 1
_MM = 2
_CODES = {np.dtype(name): code for code, name in TYPES.items()}


def write_nifti(file: Path, array: np.ndarray, geometry: Geometry, level: int) -> None:
    """Write `array` `(Z, Y, X)`, packed with gzip at this level where the name ends with .gz.

    Raises `OutputError` for an array that the format cannot hold, `OSError` when the file cannot be written.
    """
    stored = np.ascontiguousarray(array)
    if stored.dtype.newbyteorder("=") not in _CODES or max(stored.shape) > _LONGEST_AXIS:
        raise OutputError(
            f"NIfTI cannot hold an array of shape {stored.shape} and type {stored.dtype}: use .nrrd."
        )
    stored = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    with ExitStack() as stack:
        out: BinaryIO = stack.enter_context(file.open("wb"))
        if file.name.lower().endswith(".gz"):
            packed = gzip.GzipFile("", "wb", level, out, mtime=0)  # the same bytes for the same image
            out = cast(BinaryIO, stack.enter_context(packed))
        out.write(_header(stored, geometry))
        out.write(stored.reshape(-1).view(np.uint8).data)


def _header(array: np.ndarray, geometry: Geometry) -> bytes:
    forms = geometry.forms or both_forms(geometry.ijk_to_ras)
    block = bytearray(DATA_START)
    kind = array.dtype.newbyteorder("=")

    def put(offset: int, form: str, *values: object) -> None:
        struct.pack_into("<" + form, block, offset, *values)

    put(0, "i", HEADER_BYTES)
    put(38, "c", b"r")
    put(40, "8h", 3, *geometry.size, 1, 1, 1, 1)
    put(70, "2h", _CODES[kind], 8 * kind.itemsize)
    put(76, "8f", forms.handedness, *forms.spacing, 0, 0, 0, 0)
    put(108, "3f", DATA_START, 1, 0)
    put(123, "B", _MM)
    put(252, "2h", forms.qform_code, forms.sform_code)
    put(256, "6f", *forms.quaternion, *forms.position)
    put(280, "12f", *forms.sform)
    put(344, "4s", b"n+1")
    return bytes(block)
