"""Read `model.json`, and refuse one that contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

from ..errors import BundleFormatError
from ..system.file_names import inside
from ..system.json_reading import Fields, json_text, read_json
from .description import (
    FORMAT_VERSION,
    NAME_FORM,
    ORIENTATION_FORM,
    OUTPUTS,
    PIPELINES,
    SKULLS,
    Channel,
    Fold,
    Model,
    NetworkSpec,
    Output,
    Pipeline,
    Skull,
)
from .description_consistency import check_model
from .labels import MAX_LABEL, Label, Region
from .location import Location

T = TypeVar("T")

MODEL_FILE = "model.json"


def read_model(folder: Path) -> Model:
    """The model described by `folder/model.json`; the weights are not read.

    Raises:
        BundleFormatError: the file is missing, malformed, of an unknown version, or contradicts itself.
        UnsafePathError: a path in it leaves the folder.
    """
    path = inside(folder, MODEL_FILE)
    if not path.is_file():
        raise BundleFormatError(
            f"{folder} is not a model: it has no {MODEL_FILE}. Give the folder of a model, or install its "
            "zip with 'mednext models install'."
        )
    return parse_model(Fields(read_json(path, BundleFormatError), str(path), BundleFormatError))


def parse_model(fields: Fields) -> Model:
    """The model described by a parsed `model.json`, checked for contradictions."""
    _check_version(fields)
    model = Model(
        name=fields.text("name", pattern=NAME_FORM),
        version=fields.text("version"),
        task=fields.text("task", pattern=NAME_FORM),
        title=fields.text("title"),
        description=fields.text("description", empty=True),
        network=NetworkSpec.read(fields.fields("network")),
        channels=fields.objects("channels", Channel.read, minimum=1),
        labels=fields.objects("labels", Label.read, minimum=1),
        orientation=fields.text("orientation", pattern=ORIENTATION_FORM),
        spacing=_triple(fields.numbers("spacing", 1e-3, 1e3, 3)) if fields.has("spacing") else None,
        patch=_triple(fields.integers("patch", 1, 4096, length=3)),
        pipeline=cast(Pipeline, fields.text("pipeline", choices=PIPELINES)),
        output=cast(Output, fields.text("output", choices=OUTPUTS)),
        mirror_axes=fields.integers("mirror_axes", 0, 2),
        regions_class_order=fields.integers("regions_class_order", 1, MAX_LABEL, default=()),
        keep_largest=fields.integers("keep_largest", 1, MAX_LABEL, default=()),
        step=fields.number("step", 0.1, 1.0),
        field_of_view=_triple(fields.numbers("field_of_view", 1, 1e4, 3))
        if fields.has("field_of_view")
        else None,
        folds=fields.objects("folds", Fold.read, minimum=1),
        licence=fields.text("licence", empty=True),
        citation=fields.text("citation", empty=True),
        training_data=fields.text("training_data", empty=True),
        accuracy=_read_accuracy(fields),
        regions=fields.objects("regions", Region.read, default=()),
        skull=read_skull(fields),
        location=Location.read(fields.fields("location")) if fields.has("location") else None,
    )
    fields.finish()
    check_model(model)
    return model


def read_skull(fields: Fields) -> Skull:
    """Whether the training images show the skull, of a model or of a task in the catalog."""
    return cast(Skull, fields.text("skull", choices=SKULLS) if fields.has("skull") else "")


def _check_version(fields: Fields) -> None:
    version = fields.take("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise BundleFormatError(
            f"{fields.where}: format version {version!r} is not known here, only {FORMAT_VERSION}. Update "
            "the extension, or get the model in the older format."
        )


def _read_accuracy(fields: Fields) -> dict[str, Any] | None:
    if not fields.has("accuracy"):
        return None
    accuracy = fields.take("accuracy")
    Fields(accuracy, f"{fields.where}: accuracy", fields.error).text("source")
    try:
        json_text(accuracy).encode()
    except (ValueError, RecursionError):
        raise fields.refuse("accuracy", accuracy, "without infinite numbers and half characters") from None
    return dict(accuracy)


def _triple(values: tuple[T, ...]) -> tuple[T, T, T]:
    z, y, x = values
    return z, y, x
