"""Recognise image files that are masks, by the names that public data sets use.

case_00000/imaging.nii.gz  case_00000/segmentation.nii.gz           KiTS
s0000/ct.nii.gz            s0000/segmentations/liver.nii.gz         TotalSegmentator
imagesTr/liver_0.nii.gz    labelsTr/liver_0.nii.gz                  Medical Segmentation Decathlon, nnU-Net
p1-t1c.nii.gz              p1-seg.nii.gz                            BraTS
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_WORDS = "segmentations?|segs?|segm|labels?|labelmaps?|masks?|annotations?|annot|gt|groundtruth|maske|masken"
_WORD = re.compile(_WORDS)
_FOLDER = re.compile(
    rf"({_WORDS}|instances?|ground[ _-]truth)[ _-]?(tr|ts|va|val|train|test)?", re.IGNORECASE
)


def masks_among(images: Iterable[Path], root: Path) -> set[Path]:
    """The files of `images` below `root` that have, or lie in a folder with, the name of a mask.

    None where this holds for all of them: they are then meant to be images.
    """
    images = list(images)
    masks = {image for image in images if _is_mask(image.relative_to(root))}
    return masks if len(masks) < len(images) else set()


def _is_mask(image: Path) -> bool:
    if any(_FOLDER.fullmatch(part) for part in image.parent.parts):
        return True
    # "tumorSeg" is two words; digits belong to none.
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", image.name)
    return any(_WORD.fullmatch(word) for word in re.findall(r"[a-z]+", text.casefold()))
