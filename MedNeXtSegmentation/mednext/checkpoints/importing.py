"""Import a foreign checkpoint of any known kind into a bundle, or report its facts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError, MedNeXtError
from ..library.catalog_source import load_catalog
from ..library.import_memory import WEIGHTS_SUFFIXES
from ..library.store import check_name
from ..model.bundle import Bundle, stored_weights, write_bundle
from ..model.description import Model, Skull
from ..model.description_consistency import check_model
from ..model.model_file import MODEL_FILE
from .checkpoint_format import CheckpointFormat
from .described_weights import DESCRIBED_WEIGHTS
from .import_options import ImportOptions
from .import_report import ImportNotes, ImportReport, report_of
from .locating import located
from .nnunet.v1 import NNUNET_V1
from .nnunet.v2 import NNUNET_V2
from .training_images import largest_field_of_view

logger = logging.getLogger(__name__)

# The first that accepts a source reads it. Described weights take any file, and stay last.
FORMATS: tuple[CheckpointFormat, ...] = (
    NNUNET_V2,
    NNUNET_V1,
    DESCRIBED_WEIGHTS,
)


def import_checkpoint(
    source: str | Path, out_folder: str | Path, options: ImportOptions | None = None
) -> Bundle:
    """Write a bundle from a foreign checkpoint; see `import_with_report`."""
    return import_with_report(source, out_folder, options)[0]


def import_with_report(
    source: str | Path, out_folder: str | Path, options: ImportOptions | None = None
) -> tuple[Bundle, ImportReport]:
    """Write a bundle from a foreign checkpoint, and report the facts that were understood.

    Args:
        source: a results folder of nnU-Net v1 or v2, one fold's folder in it, or the file in that; a folder
            or zip file with one such folder in it; or a file of weights with a description.
        out_folder: folder of the bundle; its name is the model's name. A bundle that is there is replaced.
        options: facts that the checkpoint lacks, and choices.

    Raises:
        CheckpointError: the checkpoint is incomplete, damaged, unsafe, or of a kind that is not known here.
        BundleFormatError: the checkpoint's facts contradict each other, or are impossible.
        OptionError: an option, or the model's name, is not allowed.
        OutputError, DiskSpaceError: the bundle cannot be written.
    """
    source, out_folder, options = Path(source), Path(out_folder), options or ImportOptions()
    notes = ImportNotes()
    with _explaining(source):
        model, weights = _read(source, out_folder.name, options, notes)
    described = " ".join((model.description, *notes.remarks))
    bundle = write_bundle(out_folder, replace(model, description=described), weights, half=options.half)
    return bundle, report_of(bundle.model, notes)


def examine_checkpoint(source: str | Path, name: str, options: ImportOptions | None = None) -> ImportReport:
    """Report the facts that an import would use, and its questions to the user. Write nothing.

    Args and errors as for `import_with_report`, but for errors of writing.
    """
    source, options, notes = Path(source), options or ImportOptions(), ImportNotes(asking=True)
    with _explaining(source):
        model, weights = _read(source, name, options, notes)
    check_model(model)
    for fold, state in weights.items():
        stored_weights(fold, state, options.half)
    return report_of(model, notes)


@contextmanager
def _explaining(source: Path) -> Iterator[None]:
    """Turn any error of foreign files into a `CheckpointError`."""
    try:
        yield
    except MedNeXtError:
        raise
    except Exception as cause:  # boundary: foreign files
        logger.debug("%s cannot be imported", source, exc_info=True)
        reason = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, OSError) and cause.strerror:
            reason = f"{cause.filename or source}: {cause.strerror}"
        raise CheckpointError(
            f"{source} is damaged or not a checkpoint that is known here ({reason}). Copy it again."
        ) from cause


def _read(
    source: Path, name: str, options: ImportOptions, notes: ImportNotes
) -> tuple[Model, dict[int, dict[str, Tensor]]]:
    """The model in a checkpoint of any kind, and the weights of each fold."""
    check_name(name)
    if not source.exists():
        raise CheckpointError(
            f"There is no {source}. Give the results folder of nnU-Net, or a file of weights."
        )
    with located(source, _is_training, notes) as place:
        format = next((format for format in FORMATS if format.accepts(place)), None)
        if format is None:
            raise _unknown(source, place)
        model, weights = format.read(place, name, options, notes)
    if options.images:
        model = replace(model, field_of_view=largest_field_of_view(options.images, model.orientation))
    model = replace(model, skull=options.skull or _skull_of_task(model) or model.skull)
    return model, weights


def _unknown(source: Path, folder: Path) -> CheckpointError:
    """The error for a folder, perhaps of an unpacked zip file, that no format reads."""
    if (folder / MODEL_FILE).is_file():
        return CheckpointError(f"{source} is a model already. Install it with 'mednext models install'.")
    files = (path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.suffix in WEIGHTS_SUFFIXES)
    weights = min(files, default=None)
    if weights and (folder / "config.json").is_file():
        return CheckpointError(
            f"{source} is a results folder of MIST, which normalises each image by its percentiles, and "
            f"resamples otherwise than is done here. Import the weights of a fold, such as "
            f"{weights.relative_to(folder)}, with a description of a preprocessing that fits them."
        )
    if weights:
        return CheckpointError(
            f"{source} is no training of nnU-Net, but holds weights, in {weights.relative_to(folder)}. "
            "Import that file, with a description of its preprocessing."
        )
    plans = " nor ".join(f"{each.plans_file} ({each.name})" for each in FORMATS if each.plans_file)
    return CheckpointError(
        f"{source} holds neither {plans}. Give the folder that contains the folders fold_0, fold_1, ... of "
        "one training."
    )


def _is_training(folder: Path) -> bool:
    """Whether some format knows a folder as that of one training."""
    return any(format.accepts(folder) for format in FORMATS)


def _skull_of_task(model: Model) -> Skull:
    task = load_catalog().task(model.task)
    return task.skull if task else ""
