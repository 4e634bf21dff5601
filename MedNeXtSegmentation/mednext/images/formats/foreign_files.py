"""Recognise files of other kinds by their first bytes, and refuse them with the kind and the remedy."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError, UnreadableImageError, UnsupportedImageError

_HEAD_BYTES = 512
_DICOM = "is a DICOM file: give the folder of its series."
_PICTURE = "is a picture, which has no place in a patient: give the image that it was made of."
_UNPACK = "unpack it and give the image in it."
_BEGINNINGS = (
    (
        b"version https://git-lfs.github.com/spec/",
        "is a pointer of Git LFS, not the image itself: get the image with 'git lfs pull'.",
    ),
    (b"PK\x03\x04", f"is a zip archive: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7z archive: {_UNPACK}"),
    (b"Rar!", f"is a rar archive: {_UNPACK}"),
    (b"\xfd7zXZ", f"is an xz archive: {_UNPACK}"),
    (b"BZh", f"is packed with bzip2: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"is packed with zstd: {_UNPACK}"),
    (b"%PDF", "is a PDF document: give an image."),
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"BM", _PICTURE),
    (b"II*\0", _PICTURE),
    (b"MM\0*", _PICTURE),
    (b"\x89HDF", "is a HDF5 or MINC file, which is not read: convert it to NIfTI or NRRD."),
    (
        b"# vtk DataFile",
        "is a VTK file, which does not say where left is: give the image that it was made of.",
    ),
    (b"NRRD000", "is a NRRD file: name it *.nrrd."),
    (b"ObjectType", "is a MetaImage file: name it *.mha or *.mhd."),
)


def refuse_foreign(path: Path, own: tuple[bytes, ...] = ()) -> None:
    """Refuse a file that begins like another kind of file, but not with one of `own`.

    Raises `UnreadableImageError` with the kind and the remedy.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for beginning, sentence in _BEGINNINGS:
        if head.startswith(beginning) and beginning not in own:
            raise UnreadableImageError(f"{path} {sentence}")
    if head[128:132] == b"DICM":
        raise UnreadableImageError(f"{path} {_DICOM}")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        raise UnreadableImageError(
            f"{path} is a web page, perhaps the error of a download: download the image again."
        )
    if text.startswith((b"{", b"[")) and _is_text(head):
        raise UnreadableImageError(f"{path} is a text file (JSON?), no image: give the image.")
    if not own and _is_text(head):
        raise UnreadableImageError(f"{path} is a text file, no image: give the image.")


def unknown(path: Path, formats: str) -> InputError:
    """The error for a file of a format that is not read. Raises the errors of `refuse_foreign`."""
    if path.name.lower().endswith((".mgz", ".mgh")):
        return UnsupportedImageError(
            f"{path} is an image of FreeSurfer, which is not read: convert it with mri_convert to .nii.gz."
        )
    refuse_foreign(path)
    return UnreadableImageError(
        f"{path} is no image that is read: give {formats}, or the folder of a DICOM series."
    )


def _is_text(head: bytes) -> bool:
    try:
        text = head[: len(head) // 4 * 4].decode("ascii")
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\r\n\t" for char in text)
