"""Read the attributes of a DICOM file that tell place, kind and time of a slice.

GDCM, with which SimpleITK reads DICOM, invents missing attributes: a supine patient, pixels of 1 mm. So these
attributes are read by hand; GDCM decodes the pixels only. Sequences are skipped.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from ...errors import UnreadableImageError, UnsupportedImageError

# Names of the attributes that are read, by their tags. All others are skipped.
_NAMES = {
    0x00080005: "SpecificCharacterSet",
    0x00080008: "ImageType",
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x0008002A: "AcquisitionDateTime",
    0x00080031: "SeriesTime",
    0x00080032: "AcquisitionTime",
    0x00080060: "Modality",
    0x0008103E: "SeriesDescription",
    0x00100020: "PatientID",
    0x00180010: "ContrastBolusAgent",
    0x00180020: "ScanningSequence",
    0x00180050: "SliceThickness",
    0x00180060: "KVP",
    0x00180080: "RepetitionTime",
    0x00180081: "EchoTime",
    0x00180082: "InversionTime",
    0x00180086: "EchoNumbers",
    0x00180088: "SpacingBetweenSlices",
    0x00181030: "ProtocolName",
    0x00181060: "TriggerTime",
    0x00181210: "ConvolutionKernel",
    0x00181314: "FlipAngle",
    0x00189087: "DiffusionBValue",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
    0x00200011: "SeriesNumber",
    0x00200012: "AcquisitionNumber",
    0x00200013: "InstanceNumber",
    0x00200032: "ImagePositionPatient",
    0x00200037: "ImageOrientationPatient",
    0x00200052: "FrameOfReferenceUID",
    0x00200100: "TemporalPositionIdentifier",
    0x00209056: "StackID",
    0x00209128: "TemporalPositionIndex",
    0x00209241: "NominalPercentageOfCardiacPhase",
    0x00280002: "SamplesPerPixel",
    0x00280004: "PhotometricInterpretation",
    0x00280008: "NumberOfFrames",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280030: "PixelSpacing",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
    0x00280102: "HighBit",
    0x00280103: "PixelRepresentation",
    0x00281052: "RescaleIntercept",
    0x00281053: "RescaleSlope",
    0x00281054: "RescaleType",
    0x00283000: "ModalityLUTSequence",
    0x00541001: "Units",
}
_BINARY = {
    "SamplesPerPixel": "H",
    "Rows": "H",
    "Columns": "H",
    "BitsAllocated": "H",
    "BitsStored": "H",
    "HighBit": "H",
    "PixelRepresentation": "H",
    "TemporalPositionIndex": "I",
    "DiffusionBValue": "d",
    "NominalPercentageOfCardiacPhase": "f",
}
_PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_MEDIA_CLASS, _TRANSFER_SYNTAX = 0x00020002, 0x00020010
_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_LONGEST_VALUE = 2**14
_DEEPEST = 32
_MOST_INFLATED = 2**28
_MOST_COMPRESSED = 2**12  # even an empty slice takes a 2,000th in JPEG 2000
_REMEMBERED = 2**16  # files
_ENCODINGS = {
    "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 13": "shift_jis",
    "GB18030": "gb18030",
    "GBK": "gbk",
}


class _DamagedError(Exception):
    """The bytes from here on are not DICOM."""


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """The attributes of one file.

    Attributes:
        file: the file.
        values: the values of the present attributes, by keyword, without padding; sequences as "".
        has_pixels: True if there are voxels.
        damage: why the file cannot be read to its end, or "".
        photometric_at: offset of the value of PhotometricInterpretation in the file; 0 if it has none.
    """

    file: Path
    values: Mapping[str, str]
    has_pixels: bool
    damage: str
    photometric_at: int

    def get(self, name: str) -> str:
        """The value of an attribute, "" if it is missing or empty."""
        return self.values.get(name, "")


def read_header(file: Path) -> DicomHeader | None:
    """The header of a file, from memory if the file has not changed; None if it is not DICOM.

    Raises `UnreadableImageError` when the file cannot be read.
    """
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):
            return None
        # An archive may give other files of this name the same size and time.
        return _remembered(file, state.st_size, (state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
    except OSError as error:
        raise UnreadableImageError(
            f"{file} cannot be read ({error.strerror}): check it and its permissions."
        ) from error


@lru_cache(maxsize=_REMEMBERED)
def _remembered(file: Path, size: int, _version: tuple[int, ...]) -> DicomHeader | None:
    with file.open("rb", buffering=2**13) as content:
        start = content.read(132)
        if start[128:] == b"DICM":
            return Parser(content, size).header(file)
        # Without a preamble, as in old archives, a file begins with its first element, of group 2 or 8.
        if start[:2] not in (b"\x08\x00", b"\x02\x00") or start[3:4] != b"\0":
            return None
        content.seek(0)
        header = Parser(content, size).header(file)
        return header if header.get("SOPClassUID") else None


class Parser:
    """Walks once through the elements of one file, up to its pixels."""

    def __init__(self, content: BinaryIO, size: int) -> None:
        self._content = content
        self._size = size
        self._order = "<"
        self._explicit = True
        self._inflated = False
        self._values: dict[str, str] = {}
        self._encoded: dict[str, bytes] = {}
        self._media_class = b""
        self._has_pixels = False
        self._photometric_at = 0

    def header(self, file: Path) -> DicomHeader:
        damage = ""
        try:
            self._read_meta()
            self._read_elements()
        except (_DamagedError, zlib.error) as error:
            damage = str(error)
        self._encoded.setdefault("SOPClassUID", self._media_class)
        encoding = _encoding(self._encoded.get("SpecificCharacterSet", b"").decode("latin-1"))
        texts = {name: _text(value, encoding) for name, value in self._encoded.items()}
        return DicomHeader(file, self._values | texts, self._has_pixels, damage, self._photometric_at)

    def _read_meta(self) -> None:
        """Read group 2, always explicit and little endian, which tells the encoding of the other groups."""
        syntax = ""
        while self._peek()[:2] == b"\x02\x00":
            tag, _, length = self._element()
            value = self._value(length)
            if tag == _TRANSFER_SYNTAX:
                self._values["TransferSyntaxUID"] = syntax = value.decode("latin-1").strip("\0 ")
            elif tag == _MEDIA_CLASS:
                self._media_class = value
        if syntax == _DEFLATED:
            inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(self._content.read(), _MOST_INFLATED)
            self._content, self._size, self._inflated = BytesIO(inflated), len(inflated), True
        self._order = ">" if syntax == _BIG_ENDIAN else "<"
        # The transfer syntax of some files is wrong; two capital letters can only be a VR, not a length.
        self._explicit = self._has_vr()

    def _read_elements(self) -> None:
        while self._peek():
            at = self._content.tell()
            tag, vr, length = self._element()
            if tag in _PIXEL_DATA:
                self._has_pixels = True
                self._pass_over(vr, length)
                self._check_complete(length)
                self._check_rest()
                return
            if tag > max(_PIXEL_DATA):
                return
            name = _NAMES.get(tag)
            if name is None or length == _UNDEFINED or vr == b"SQ" or length > _LONGEST_VALUE:
                if name:
                    self._values[name] = ""
                self._pass_over(vr, length)
                continue
            value = self._value(length)
            if name == "PhotometricInterpretation" and not self._inflated:
                self._photometric_at = self._content.tell() - length
            if name in _BINARY:
                self._values[name] = self._number(value, _BINARY[name], at)
            elif self._encoded.setdefault(name, value) != value:
                raise _DamagedError(f"{name} stands there twice, with different values")

    def _check_complete(self, length: int) -> None:
        """Refuse files with too few bytes for their pixels, which GDCM would fill up with zeros."""
        names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
        rows, columns, samples, bits = (int(self._values.get(name) or 1) for name in names)
        if rows * columns * samples * bits // 8 > _MOST_COMPRESSED * self._size:
            raise _DamagedError(f"{self._size} bytes for {columns} x {rows} pixels")
        if samples == 1 and length != _UNDEFINED and length < rows * columns * bits // 8:
            raise _DamagedError(f"{length} bytes for {columns} x {rows} pixels of {bits} bits")

    def _check_rest(self) -> None:
        """Refuse bytes after the pixels that are no elements: GDCM would take gigabytes for them.

        Zeros are allowed, as some archives fill files up with them.
        """
        while len(start := self._peek()) == 8:
            if not any(start) and not any(self._content.read()):
                return
            _, vr, length = self._element()
            self._pass_over(vr, length)

    def _number(self, value: bytes, form: str, at: int) -> str:
        size = struct.calcsize(form)
        if not value:
            return ""
        if len(value) < size:
            raise _DamagedError(f"a number of {len(value)} bytes at byte {at}")
        return f"{struct.unpack(self._order + form, value[:size])[0]:.12g}"

    def _element(self) -> tuple[int, bytes, int]:
        """Tag, VR ("" if implicit) and length of the value, which comes next."""
        group, element = struct.unpack(self._order + "HH", self._exactly(4))
        tag = group << 16 | element
        if not self._explicit or group == 0xFFFE:
            return tag, b"", struct.unpack(self._order + "I", self._exactly(4))[0]
        vr, short = self._exactly(2), self._exactly(2)
        if vr in _LONG_VRS:
            return tag, vr, struct.unpack(self._order + "I", self._exactly(4))[0]
        if not (vr.isalpha() and vr.isupper()):
            raise _DamagedError(f"no element at byte {self._content.tell() - 8}")
        return tag, vr, struct.unpack(self._order + "H", short)[0]

    def _pass_over(self, vr: bytes, length: int, depth: int = 0) -> None:
        if length != _UNDEFINED:
            self._skip(length)
            return
        if depth > _DEEPEST:
            raise _DamagedError(f"sequences more than {_DEEPEST} deep")
        explicit = self._explicit
        if vr == b"UN":  # by the standard; some programs write explicit VRs nevertheless
            self._explicit = False
        while True:
            tag, _, length = self._element()
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise _DamagedError(f"no item of a sequence at byte {self._content.tell() - 8}")
            self._pass_over_item(length, depth)
        self._explicit = explicit

    def _pass_over_item(self, length: int, depth: int) -> None:
        if length != _UNDEFINED:
            self._skip(length)
            return
        explicit = self._explicit
        self._explicit = explicit or self._has_vr()
        while True:
            tag, vr, length = self._element()
            if tag == _ITEM_END:
                break
            self._pass_over(vr, length, depth + 1)
        self._explicit = explicit

    def _has_vr(self) -> bool:
        vr = self._peek()[4:6]
        return vr.isalpha() and vr.isupper()

    def _peek(self) -> bytes:
        at = self._content.tell()
        found = self._content.read(8)
        self._content.seek(at)
        return found

    def _value(self, length: int) -> bytes:
        if length > _LONGEST_VALUE:
            raise _DamagedError(f"a value of {length} bytes at byte {self._content.tell()}")
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        found = self._content.read(count)
        if len(found) < count:
            raise _DamagedError(f"it ends at byte {self._size}, within an element")
        return found

    def _skip(self, count: int) -> None:
        if self._content.tell() + count > self._size:
            raise _DamagedError(f"it ends at byte {self._size}, within an element")
        self._content.seek(count, 1)


def _encoding(character_sets: str) -> str:
    """The codec of a SpecificCharacterSet; without one UTF-8, which includes ASCII."""
    name = character_sets.partition("\\")[0].strip("\0 ").replace("ISO 2022 IR", "ISO_IR")
    return _ENCODINGS.get(name, "utf-8")


def _text(value: bytes, encoding: str) -> str:
    return value.decode(encoding, errors="replace").strip("\0 ")


def frames_refused(path: Path, frames: int) -> UnsupportedImageError:
    """The error for multi-frame DICOM, whose frames ITK reads as ascending slices, whatever their places."""
    return UnsupportedImageError(
        f"{path} is a DICOM file of {frames} frames: convert it with dcm2niix, or load it in Slicer and save "
        "it as NRRD."
    )
