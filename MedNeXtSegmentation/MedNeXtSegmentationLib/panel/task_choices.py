"""What the panel offers: the installed models, then the tasks that have no weights yet."""

from __future__ import annotations

from dataclasses import dataclass

from mednext.catalog import Task
from mednext.model import Model


@dataclass(frozen=True)
class TaskChoice:
    """A row of the panel's list: an installed model, or a task without one.

    Attributes:
        name: of the model or the task; saved with the scene.
        model: None where there are no weights.
        task: the task in the catalog, if it is there.
        bytes: size of the weights.
    """

    name: str
    title: str
    model: Model | None
    task: Task | None
    bytes: int = 0


def taskChoices() -> list[TaskChoice]:
    """All rows, the default model first.

    Raises:
        CatalogError: the shipped catalog is damaged.
    """
    # Here and not above: these take their time to import, and Slicer loads this file when it starts.
    from mednext.catalog_source import load_catalog
    from mednext.store import installed_models

    catalog, models = load_catalog(), installed_models()
    ready = [TaskChoice(m.name, m.title, m, catalog.task(m.task), _bytes(m)) for m in models]
    served = {model.task.casefold() for model in models}
    waiting = [TaskChoice(t.name, t.title, None, t) for t in catalog.tasks if t.name.casefold() not in served]
    return ready + waiting


def _bytes(model: Model) -> int:
    from mednext.store import find_model

    folder = find_model(model.name)
    files = (folder / fold.file for fold in model.folds)
    return sum(file.stat().st_size for file in files if file.is_file())
