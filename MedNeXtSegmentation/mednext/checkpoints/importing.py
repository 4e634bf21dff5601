"""Import a foreign checkpoint of any known kind into a bundle."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError, MedNeXtError
from ..library.store import check_name
from ..model.bundle import Bundle, write_bundle
from ..model.description import Model
from . import nnunet_v1, nnunet_v2
from .import_options import ImportOptions
from .monai import read_monai_file
from .nnunet_v1 import read_v1_folder
from .nnunet_v2 import read_v2_folder
from .training_images import largest_field_of_view

logger = logging.getLogger(__name__)

_FOLD_FOLDER = r"fold_\d{1,3}|fold_all|all"
_FOLD_FILES = {file: kind for files in (nnunet_v1.WEIGHTS, nnunet_v2.WEIGHTS) for kind, file in files.items()}


def import_checkpoint(
    source: str | Path, out_folder: str | Path, options: ImportOptions | None = None
) -> Bundle:
    """Write a bundle from a foreign checkpoint.

    Args:
        source: a results folder of nnU-Net v1 or v2, one fold's folder in it, or the file in that; or a file
            with a state dict of MONAI's `MedNeXt`.
        out_folder: folder of the bundle; its name is the model's name. A bundle that is there is replaced.
        options: facts that the checkpoint lacks, and choices.

    Raises:
        CheckpointError: the checkpoint is incomplete, damaged, unsafe, or of a kind that is not known here.
        BundleFormatError: the checkpoint's facts contradict each other, or are impossible, such as a patch
            whose sides are not divisible by 16.
        OptionError: an option, or the model's name, is not allowed.
        OutputError, DiskSpaceError: the bundle cannot be written.
    """
    source, out_folder, options = Path(source), Path(out_folder), options or ImportOptions()
    name = out_folder.name
    try:
        model, weights = _read(source, name, options)
        if options.images:
            model = replace(model, field_of_view=largest_field_of_view(options.images, model.orientation))
    except MedNeXtError:
        raise
    except Exception as cause:  # boundary: the files of a stranger
        logger.debug("%s cannot be imported", source, exc_info=True)
        reason = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, OSError) and cause.strerror:
            reason = f"{cause.filename or source}: {cause.strerror}"
        raise CheckpointError(
            f"{source} is damaged or not a checkpoint that is known here ({reason}). Copy it again."
        ) from cause
    return write_bundle(out_folder, model, weights, half=options.half)


def _read(source: Path, name: str, options: ImportOptions) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a checkpoint of any kind, and the weights of each fold."""
    check_name(name)
    if not source.exists():
        raise CheckpointError(
            f"There is no {source}. Give the results folder of nnU-Net, or a file of weights."
        )
    if source.is_file() and source.name in _FOLD_FILES:
        source, options = source.parent, replace(options, checkpoint=_FOLD_FILES[source.name])
    if re.fullmatch(_FOLD_FOLDER, source.name) and source.is_dir() and options.folds is None:
        fold = source.name.removeprefix("fold_")
        source, options = source.parent, replace(options, folds=(fold if fold == "all" else int(fold),))
    if (source / nnunet_v2.PLANS_FILE).is_file():
        return read_v2_folder(source, name, options)
    if (source / nnunet_v1.PLANS_FILE).is_file():
        return read_v1_folder(source, name, options)
    if source.is_file():
        return read_monai_file(source, name, options)
    raise CheckpointError(
        f"{source} holds neither {nnunet_v2.PLANS_FILE} (nnU-Net v2) nor {nnunet_v1.PLANS_FILE} (nnU-Net "
        "v1). Give the folder that contains the folders fold_0, fold_1, ... of one training."
    )
