"""The choices of the panel: installed models, models to download, and tasks without weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mednext.library.catalog import Catalog, PublishedModel, Task, folded
from mednext.library.elsewhere import Elsewhere
from mednext.model.description import Model


@dataclass(frozen=True)
class TaskChoice:
    """A row of the panel's list: an installed model, a downloadable one, or a task without a model.

    Attributes:
        name: of the model or the task; saved with the scene.
        model: None for a model that is not installed.
        task: the model's task in the catalog, if there is one.
        published: the downloadable model, or another version of the installed one.
        elsewhere: facts of a model that others published, installed or not.
        bytes: size of the installed weights.
        shipped: whether the model comes with the extension.
        server: the name of the server that has the model, which need not be installed here; "" for none.
    """

    name: str
    title: str
    model: Model | None
    task: Task | None
    published: PublishedModel | None = None
    elsewhere: Elsewhere | None = None
    bytes: int = 0
    shipped: bool = False
    server: str = ""

    def matches(self, words: str) -> bool:
        """Whether every word occurs in the description of the model or of its task."""
        texts = [self.name, self.title]
        if self.model:
            texts += [self.model.description, *(label.name for label in self.model.labels)]
            texts += [text for channel in self.model.channels for text in (channel.name, channel.modality)]
        ours = folded(" ".join(texts))
        return all(word in ours or (self.task and self.task.matches(word)) for word in folded(words).split())


def taskChoices() -> list[TaskChoice]:
    """All rows, the default model first.

    Raises:
        CatalogError: the shipped catalog is damaged.
    """
    # Not above: they are slow to import, and Slicer loads this file at its start.
    from mednext.library.catalog_source import load_catalog
    from mednext.library.store import installed_models

    catalog, models = load_catalog(), installed_models()
    ready = [_installed(model, catalog) for model in models]
    installed = {model.name for model in models}
    offered = [
        TaskChoice(
            published.name,
            _title(published, catalog),
            None,
            catalog.task(published.task),
            published,
            published.elsewhere,
        )
        for published in catalog.models
        if published.can_be_fetched and published.name not in installed
    ]
    served = {choice.task.name for choice in (*ready, *offered) if choice.task}
    waiting = [TaskChoice(t.name, t.title, None, t) for t in catalog.tasks if t.name not in served]
    return ready + offered + waiting


def servedChoices(models: Sequence[Model], server: str) -> list[TaskChoice]:
    """A row for each model of a server. Raises `CatalogError` as `taskChoices` does."""
    from mednext.library.catalog_source import load_catalog

    catalog = load_catalog()
    return [
        TaskChoice(model.name, model.title, model, catalog.task(model.task), server=server)
        for model in models
    ]


def choiceNamed(name: str, choices: Sequence[TaskChoice]) -> TaskChoice | None:
    """The row of this name; for a task that has models by now, the first of them."""
    of_task = (choice for choice in choices if choice.task and choice.task.name == name)
    return next((choice for choice in choices if choice.name == name), None) or next(of_task, None)


def _installed(model: Model, catalog: Catalog) -> TaskChoice:
    from mednext.library.store import is_shipped

    published = catalog.model(model.name)
    is_other = published and published.can_be_fetched and published.version != model.version
    return TaskChoice(
        model.name,
        model.title,
        model,
        catalog.task(model.task),
        published=published if is_other else None,
        elsewhere=published.elsewhere if published else None,
        bytes=_bytes(model),
        shipped=is_shipped(model.name),
    )


def _title(published: PublishedModel, catalog: Catalog) -> str:
    """The title of the task and of the model, since the model's does not name the task."""
    task = catalog.task(published.task)
    return f"{task.title}, {published.title}" if task else published.title


def _bytes(model: Model) -> int:
    from mednext.library.store import find_model

    folder = find_model(model.name)
    files = (folder / fold.file for fold in model.folds)
    return sum(file.stat().st_size for file in files if file.is_file())
