"""Write a page for each model that ships or is in the catalog, from its description and the measurements.

python docs/make_model_pages.py     all of docs/model_pages
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "MedNeXtSegmentation"))

from mednext.library.catalog import Catalog, PublishedModel, Task, read_catalog  # noqa: E402
from mednext.library.elsewhere import Elsewhere  # noqa: E402
from mednext.library.import_memory import memory_of_import  # noqa: E402
from mednext.model.description import Model  # noqa: E402
from mednext.model.labels import Label, Region  # noqa: E402
from mednext.model.model_file import read_model  # noqa: E402

MODELS = ROOT / "MedNeXtSegmentation" / "Resources" / "Models"
PAGES = ROOT / "docs" / "model_pages"
PICTURES = "../../MedNeXtSegmentation/Resources/Pictures"
MEASUREMENTS = ROOT / "docs" / "performance.md"
# Rows of the measurements that concern a model: by its own name, or by the size of its network.
_RUNS = ("the default model on one crop", "the same on one tile", "the same at the start")
_PATCHES = {"kernel 5": "MedNeXt-L k5", "MedNeXt-B": "MedNeXt-B k3", "MedNeXt-S": "MedNeXt-S k3"}
_MB, _GIB = 10**6, 2**30


def pages() -> dict[str, str]:
    """The text of each page, by the name of its model."""
    catalog = read_catalog(MODELS / "catalog.json")
    return {model.name: _page(model, catalog) for model in catalog.models if _is_described(model)}


def main() -> None:
    PAGES.mkdir(exist_ok=True)
    for name, text in pages().items():
        file = PAGES / f"{name}.md"
        file.write_text(text, encoding="utf-8")
        print(f"{file.relative_to(ROOT)}: {len(text)} letters")


def _is_described(model: PublishedModel) -> bool:
    return model.elsewhere is not None or (MODELS / model.name).is_dir()


def _page(published: PublishedModel, catalog: Catalog) -> str:
    task = catalog.task(published.task)
    assert task is not None
    shipped = read_model(MODELS / published.name) if published.elsewhere is None else None
    lines = [
        f"# {task.title}, {published.title}",
        "",
        f"![{task.title}]({PICTURES}/{task.picture or task.name}.png)",
        "",
        task.description,
        "",
        *_facts(published, task, shipped),
        "",
        "## Labels",
        "",
        *_labels(task),
        "",
        "## Accuracy",
        "",
        *(_accuracy(shipped) if shipped else _untested(published.elsewhere)),
        "",
        "## Time",
        "",
        *_times(published, shipped is not None),
        "",
        "## Try it",
        "",
        _trial(published),
        "",
        "*This page is made by `docs/make_model_pages.py`.*",
        "",
    ]
    return "\n".join(lines)


def _facts(published: PublishedModel, task: Task, shipped: Model | None) -> list[str]:
    """The table of facts, with those that the publisher's files lack."""
    place = published.elsewhere
    rows = [
        ("name", f"`{published.name}`, version {published.version}"),
        ("images, in this order", ", ".join(f"{image.name} ({image.modality})" for image in task.channels)),
        (
            "skull",
            {"removed": "removed", "present": "present", "": "as in the images of the training"}[task.skull],
        ),
        ("licence", published.licence),
        ("training data", f"{task.dataset.name}: {task.dataset.licence}"),
    ]
    if shipped:
        rows += [
            ("orientation", shipped.orientation),
            ("cite", shipped.citation),
            ("comes", "with the extension"),
        ]
    if place:
        rows += [
            ("orientation", f"{place.orientation}. {place.orientation_source}"),
            ("cite", place.citation),
            (
                "comes",
                f"from [its publisher]({place.page}), after a click on **Download**, or by "
                f"`mednext models install {published.name}`",
            ),
            ("size", _size(place)),
        ]
    return ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]


def _size(place: Elsewhere) -> str:
    if place.fold_bytes is None:
        return f"folds {', '.join(map(str, place.folds))}; the server tells their size"
    memory = memory_of_import([place.fold_bytes]) / _GIB
    return (
        f"folds {', '.join(map(str, place.folds))}, about {place.fold_bytes / _MB:.0f} MB each; "
        f"the import of one takes up to {memory:.1f} GiB of memory"
    )


def _labels(task: Task) -> list[str]:
    rows = [f"| {label.value} | {_look(label)} |" for label in task.labels]
    rows += [
        f"| {', '.join(map(str, region.labels))} together | {_look(region)} |" for region in task.regions
    ]
    return ["| value | name | colour | code (SNOMED CT) |", "|---|---|---|---|", *rows]


def _look(structure: Label | Region) -> str:
    codes = structure.terminology
    kinds = [codes.type, codes.type_modifier, codes.region] if codes else []
    meant = ", ".join(f"{code.value} {code.meaning}" for code in kinds if code)
    return f"{structure.name} | {' '.join(map(str, structure.color))} | {meant}"


def _accuracy(model: Model) -> list[str]:
    """The measured Dice of each structure."""
    measured = model.accuracy
    if not measured:
        return ["Not measured."]
    rows = [f"| {name} | {value:.4f} |" for name, value in measured["dice"].items()]
    return ["| structure | Dice |", "|---|---|", *rows, "", f"{measured['source']}."]


def _untested(place: Elsewhere | None) -> list[str]:
    assert place is not None
    return [f"**Not tested:** {place.untested}", "", f"**Tested:** {place.tested}"]


def _times(published: PublishedModel, is_shipped: bool) -> list[str]:
    """Measured seconds of this model or, for others, of one patch through a network of its size."""
    text = MEASUREMENTS.read_text(encoding="utf-8")
    machine = re.search(r"measured on one machine: an\s+(.*?)\. More cores", text, re.DOTALL)
    assert machine is not None
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    size = next(row for words, row in _PATCHES.items() if words in published.title)
    patches = [row for row in rows if row.startswith(f"| {size},")]
    table = ["| one patch through a network of this size | plain torch | ours, float32 | ours, bfloat16 |"]
    table += ["|---|---|---|---|", *patches]
    if is_shipped:
        runs = [row for row in rows if row.startswith(tuple(f"| {run}" for run in _RUNS))]
        table = ["| run | seconds |", "|---|---|", *runs, "", *table]
    where = " ".join(machine[1].split())
    return [*table, "", f"Machine: {where}. [performance.md](../performance.md) has the conditions."]


def _trial(published: PublishedModel) -> str:
    if published.elsewhere is None:
        return (
            "**Load sample data** on the model's card, or the button **ICBM152Hippocampus** of Slicer's "
            "module *Sample Data*, loads a crop around the right hippocampus. "
            "[tutorial.md](../tutorial.md) goes on from there."
        )
    return (
        "There is no sample: the images of this data set belong to registered users. Compare the first "
        "results with segmentations by hand before you rely on them."
    )


if __name__ == "__main__":
    main()
