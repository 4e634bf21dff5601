"""The catalog: tasks with their labels, channels, licences and citations, and the models published for them.

The schema `Resources/Models/catalog.schema.json` describes the same for other programs. `catalog_source.py`
finds the catalog in use.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CatalogError
from ..model.description import NAME_FORM, ORIENTATION_FORM, Skull
from ..model.labels import Label, Region
from ..model.model_file import read_skull
from ..system.json_reading import Fields, read_json
from .elsewhere import Elsewhere
from .web_address import check_field, read_address

FORMAT_VERSION = 1


@dataclass(frozen=True)
class InputImage:
    """One image that a task needs.

    Attributes:
        name: such as "T1ce".
        modality: DICOM's code, such as "MR".
    """

    name: str
    modality: str

    @classmethod
    def read(cls, fields: Fields) -> InputImage:
        """An input image as `catalog.json` writes it."""
        image = cls(fields.text("name"), fields.text("modality", pattern=r"[A-Z]{2,16}"))
        fields.finish()
        return image


@dataclass(frozen=True)
class Dataset:
    """The public data set that defines a task.

    Attributes:
        cases: their number; None if it is not known.
        access: "open", or "registration" if users must register with the owner.
    """

    name: str
    cases: int | None
    url: str
    access: str
    licence: str

    @classmethod
    def read(cls, fields: Fields) -> Dataset:
        """A data set as `catalog.json` writes it."""
        dataset = cls(
            name=fields.text("name"),
            cases=fields.integer("cases", 1, 1_000_000) if fields.has("cases") else None,
            url=read_address(fields, "url"),
            access=fields.text("access", choices=("open", "registration")),
            licence=fields.text("licence"),
        )
        fields.finish()
        return dataset


@dataclass(frozen=True)
class Task:
    """A set of structures to segment in given images, whether or not there are weights for it.

    Attributes:
        channels: the images it needs, in this order.
        regions: sets of its labels that are measured and reported as one.
        orientation: of the training images, such as "RAS"; None if they differ.
        spacing: mm in array order (z, y, x), or None.
        citations: publications to cite for the data and the method.
        weights: a sentence on how to get weights.
        skull: as in `Model`.
        see: names of models of other tasks that serve a similar purpose.
        picture: name of the task whose picture it has, too.
        sample: name of a fitting data set in Slicer's module Sample Data.
    """

    name: str
    title: str
    description: str
    channels: tuple[InputImage, ...]
    labels: tuple[Label, ...]
    orientation: str | None
    spacing: tuple[float, ...] | None
    dataset: Dataset
    citations: tuple[str, ...]
    weights: str
    regions: tuple[Region, ...] = ()
    skull: Skull = ""
    see: tuple[str, ...] = ()
    picture: str = ""
    sample: str = ""

    @classmethod
    def read(cls, fields: Fields) -> Task:
        """A task as `catalog.json` writes it."""
        task = cls(
            name=fields.text("name", pattern=NAME_FORM),
            title=fields.text("title"),
            description=fields.text("description"),
            channels=fields.objects("channels", InputImage.read, minimum=1),
            labels=fields.objects("labels", Label.read, minimum=1),
            orientation=fields.text("orientation", pattern=ORIENTATION_FORM)
            if fields.has("orientation")
            else None,
            spacing=fields.numbers("spacing", 1e-3, 1e3, 3) if fields.has("spacing") else None,
            dataset=Dataset.read(fields.fields("dataset")),
            citations=fields.texts("citations"),
            weights=fields.text("weights"),
            regions=fields.objects("regions", Region.read, default=()),
            skull=read_skull(fields),
            see=fields.texts("see") if fields.has("see") else (),
            picture=fields.text("picture", pattern=NAME_FORM) if fields.has("picture") else "",
            sample=fields.text("sample") if fields.has("sample") else "",
        )
        _refuse_repeats(fields, "labels", (label.value for label in task.labels))
        _refuse_repeats(fields, "labels", (label.name for label in task.labels))
        fields.finish()
        return task

    def matches(self, text: str) -> bool:
        """True if every word of `text` occurs in the name, the texts, a label, a channel or the data set."""
        inputs = [text for image in self.channels for text in (image.name, image.modality)]
        names = [*(label.name for label in self.labels), *(region.name for region in self.regions)]
        ours = " ".join([self.name, self.title, self.description, self.dataset.name, *inputs, *names])
        return all(word in folded(ours) for word in folded(text).split())


def folded(text: str) -> str:
    """A text in the form for searching: small letters, "tumour" spelt "tumor"."""
    return text.casefold().replace("tumour", "tumor")


@dataclass(frozen=True)
class Download:
    """The addresses and the digest of a model's zip file.

    Attributes:
        urls: mirrors of the same file, tried in this order.
        sha256: hexadecimal digest of the file.
        bytes: its size.
    """

    urls: tuple[str, ...]
    sha256: str
    bytes: int

    @classmethod
    def read(cls, fields: Fields) -> Download:
        """A download as `catalog.json` writes it."""
        download = cls(
            urls=_addresses(fields, "urls"),
            sha256=fields.text("sha256", pattern=r"[0-9a-f]{64}"),
            bytes=fields.integer("bytes", 1, 10**12),
        )
        fields.finish()
        return download


@dataclass(frozen=True)
class PublishedModel:
    """A model that anyone can install.

    Attributes:
        task: name of its task.
        download: its zip file, with a published digest.
        elsewhere: its files where others published them. The model that ships with the program has neither.
    """

    name: str
    task: str
    title: str
    version: str
    licence: str
    download: Download | None = None
    elsewhere: Elsewhere | None = None

    @property
    def can_be_fetched(self) -> bool:
        """Whether it has to be downloaded before it can be used."""
        return self.download is not None or self.elsewhere is not None

    @classmethod
    def read(cls, fields: Fields) -> PublishedModel:
        """A published model as `catalog.json` writes it."""
        model = cls(
            name=fields.text("name", pattern=NAME_FORM),
            task=fields.text("task", pattern=NAME_FORM),
            title=fields.text("title"),
            version=fields.text("version"),
            licence=fields.text("licence"),
            download=Download.read(fields.fields("download")) if fields.has("download") else None,
            elsewhere=Elsewhere.read(fields.fields("elsewhere")) if fields.has("elsewhere") else None,
        )
        if model.download and model.elsewhere:
            raise fields.error(f"{fields.where} has 'download' and 'elsewhere'. A model has one of them.")
        fields.finish()
        return model


@dataclass(frozen=True)
class Catalog:
    """Tasks, and the models published for them."""

    tasks: tuple[Task, ...]
    models: tuple[PublishedModel, ...]

    def task(self, name: str) -> Task | None:
        """The task of this name, regardless of upper and lower case."""
        return next((task for task in self.tasks if task.name.casefold() == name.casefold()), None)

    def model(self, name: str) -> PublishedModel | None:
        """The published model of this name."""
        return next((model for model in self.models if model.name == name), None)

    def models_for(self, task: str) -> tuple[PublishedModel, ...]:
        """The models published for a task."""
        return tuple(model for model in self.models if model.task == task)

    def search(self, text: str) -> tuple[Task, ...]:
        """The tasks that match some words, such as "kidney ct"."""
        return tuple(task for task in self.tasks if task.matches(text))


def read_catalog(path: Path) -> Catalog:
    """The catalog in a file.

    Raises:
        CatalogError: the file is unreadable, of an unknown version, or wrong; the message names the field.
    """
    fields = Fields(read_json(path, CatalogError), str(path), CatalogError)
    version = fields.take("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise CatalogError(
            f"{path}: format version {version!r} is not known here, only {FORMAT_VERSION}. "
            "Update the extension."
        )
    catalog = Catalog(
        tasks=fields.objects("tasks", Task.read, minimum=1),
        models=fields.objects("models", PublishedModel.read),
    )
    fields.finish()
    _refuse_repeats(fields, "tasks", (task.name.casefold() for task in catalog.tasks))
    _refuse_repeats(fields, "models", (model.name.casefold() for model in catalog.models))
    for task in catalog.tasks:
        for name in task.see:
            if catalog.model(name) is None:
                raise CatalogError(f"{path}: {task.name!r} refers to {name!r}, which is no model here.")
    tasks = {task.name for task in catalog.tasks}
    for model in catalog.models:
        if model.task not in tasks:
            raise CatalogError(
                f"{path}: the model {model.name!r} is for {model.task!r}, which is no task here."
            )
    return catalog


def _addresses(fields: Fields, key: str) -> tuple[str, ...]:
    values = fields.texts(key)
    for value in values:
        check_field(fields, key, value)
    return values


def _refuse_repeats(fields: Fields, key: str, values: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            raise fields.error(f"{fields.where}: {key!r} has {value!r} twice. Each may be there once.")
        seen.add(value)
