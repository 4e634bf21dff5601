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
from .checkpoint_format import CheckpointFormat
from .import_options import ImportOptions
from .monai import MONAI
from .nnunet_v1 import NNUNET_V1
from .nnunet_v2 import NNUNET_V2
from .training_images import largest_field_of_view

logger = logging.getLogger(__name__)

# The first that accepts a source reads it. MONAI takes any file, and stays last.
FORMATS: tuple[CheckpointFormat, ...] = (
    NNUNET_V2,
    NNUNET_V1,
    MONAI,
)

_FOLD_FOLDER = r"fold_\d{1,3}|fold_all|all"


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
    fold_files = {file: kind for format in FORMATS for kind, file in format.weights.items()}
    if source.is_file() and source.name in fold_files:
        source, options = source.parent, replace(options, checkpoint=fold_files[source.name])
    if re.fullmatch(_FOLD_FOLDER, source.name) and source.is_dir() and options.folds is None:
        fold = source.name.removeprefix("fold_")
        source, options = source.parent, replace(options, folds=(fold if fold == "all" else int(fold),))
    for format in FORMATS:
        if format.accepts(source):
            return format.read(source, name, options)
    plans = " nor ".join(f"{format.plans_file} ({format.name})" for format in FORMATS if format.plans_file)
    raise CheckpointError(
        f"{source} holds neither {plans}. Give the folder that contains the folders fold_0, fold_1, ... of "
        "one training."
    )
