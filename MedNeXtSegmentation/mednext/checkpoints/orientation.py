"""Find the orientation of the images that a network was trained on.

nnU-Net takes images as they are stored, and does not record their orientation. A model that was trained on
images stored from left to right takes the right kidney for the left one in images stored the other way round,
so the orientation is never assumed: the training images tell it, or the user does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError, OptionError
from ..model.description import ORIENTATION_FORM
from .import_options import ImportOptions
from .import_report import ImportNotes
from .training_images import training_grids

PLACEHOLDER = "RAS"  # where the orientation is still asked for

# Readers of nnU-Net v2 that reorient images.
_REORIENTING = {"NibabelIOWithReorient": "RAS", "SimpleITKIOWithReorient": "RAS"}


def training_orientation(options: ImportOptions, notes: ImportNotes, reader: str = "") -> str:
    """The orientation of the training images, such as "RAS".

    Args:
        options: its `orientation` or its `images` give it.
        notes: get the source, and the question if nothing gives it.
        reader: the class with which nnU-Net v2 read the images; some classes reorient.

    Raises:
        OptionError: the given orientation is impossible, or contradicts the reader or the images.
        CheckpointError: nothing gives it, or the training images have different ones.
    """
    told = _REORIENTING.get(reader)
    if options.orientation:
        _check_given(options.orientation, told, options.images)
        notes.sources["orientation"] = "given"
        return options.orientation
    if told:
        notes.sources["orientation"] = f"nnU-Net's reader {reader} reorients"
        return told
    if options.images:
        notes.sources["orientation"] = "headers of the training images"
        return _common_orientation(options.images)
    notes.ask(
        "orientation",
        CheckpointError(
            "The checkpoint does not say how its training images were stored, and a wrong guess could swap "
            "left and right. Give the orientation, such as RAS, or the folder of the training images (the "
            "header of a training image shows it; 'RAS' and 'LPS' are the most common ones)."
        ),
    )
    return PLACEHOLDER


def check_orientation(code: str) -> None:
    """Refuse a text that is not an orientation. Raises OptionError."""
    if not re.fullmatch(ORIENTATION_FORM, code):
        raise OptionError(
            f"{code!r} is not an orientation. Give one letter of each pair R/L, A/P and S/I, such as RAS: "
            "where the axes i, j and k of the training images point to."
        )


def _check_given(code: str, told: str | None, images: Path | None) -> None:
    check_orientation(code)
    if told not in (None, code):
        raise OptionError(
            f"nnU-Net brought the training images to {told}, so the orientation cannot be {code}. Leave the "
            "orientation out."
        )
    found = _orientations(images) if images else {}
    if found and code not in found:
        raise OptionError(
            f"The orientation of the training is {code}, but the images in {images} are stored as "
            f"{', '.join(found)}: give those of the training, or leave one of the two out."
        )


def transposed_orientation(
    code: str, transpose_forward: Sequence[int], notes: ImportNotes | None = None
) -> str:
    """The orientation after nnU-Net's transposition of array axes.

    nnU-Net may train on transposed arrays (coarse axis first). To the network these are images in another
    orientation, so a changed orientation stands for the transposition.

    Args:
        code: orientation of the images, for the axes i, j, k.
        transpose_forward: the source of each axis of the transposed array `(z, y, x)`.
        notes: get the transposition as a part of the orientation's source.

    Raises:
        CheckpointError: `transpose_forward` is not a permutation of 0, 1 and 2.
    """
    if sorted(transpose_forward) != [0, 1, 2]:
        raise CheckpointError(
            f"The plans transpose axes by {list(transpose_forward)}, which is not a permutation of 0, 1 and "
            "2."
        )
    if notes and sorted(transpose_forward) != list(transpose_forward):
        said = notes.sources.get("orientation", "")
        notes.sources["orientation"] = f"{said}: {code}, axes transposed as in the plans"
    in_array_order = code[::-1]
    return "".join(in_array_order[axis] for axis in transpose_forward)[::-1]


def _orientations(folder: Path) -> dict[str, Path]:
    """The orientations of the images in a folder, each with the first image of it."""
    found: dict[str, Path] = {}
    for path, grid in training_grids(folder):
        found.setdefault(grid.orientation, path)
    return found


def _common_orientation(folder: Path) -> str:
    found = _orientations(folder)
    if len(found) > 1:
        examples = ", ".join(f"{code} in {path.name}" for code, path in found.items())
        raise CheckpointError(
            f"The training images in {folder} are not all stored alike ({examples}). nnU-Net trained on each "
            "as it is; give the orientation that new images shall be brought to."
        )
    return next(iter(found))
