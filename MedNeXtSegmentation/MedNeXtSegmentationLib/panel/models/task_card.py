"""The card of a model: picture, structures, images, accuracy, licence, size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import qt
from mednext.library.catalog import PublishedModel
from mednext.system.shown_text import rich_text, tool_tip
from slicer.i18n import tr as _

from .task_choices import TaskChoice

_MIB = 2**20
_MOST_NAMES = 4  # the tooltip has the names of all


class TaskCard:
    """Shows one choice, or nothing.

    picturePath: returns the path of a file in the folder Pictures.
    """

    def __init__(self, ui: Any, picturePath: Callable[[str], str]) -> None:
        self._ui = ui
        self._picturePath = picturePath

    def show(self, choice: TaskChoice | None) -> None:
        """Show the card of a model, or of a task without one."""
        ui = self._ui
        ui.cardLabel.visible = ui.pictureLabel.visible = choice is not None
        if choice is None:
            return
        ui.cardLabel.text = cardOf(choice)
        ui.cardLabel.toolTip = tool_tip(_tooltip(choice))
        ui.pictureLabel.setPixmap(qt.QPixmap(self._pictureOf(choice)))
        ui.pictureLabel.toolTip = tool_tip(choice.task.title if choice.task else choice.title)

    def _pictureOf(self, choice: TaskChoice) -> str:
        """The picture of the task; a user's own model has a general picture."""
        task = choice.task
        path = self._picturePath(f"{task.picture or task.name}.png") if task else ""
        return path if Path(path).is_file() else self._picturePath("model.png")


def cardOf(choice: TaskChoice) -> str:
    """The card of a model, or of a task without one, as rich text."""
    about = _about(choice)
    images = ", ".join(_image(channel.name, channel.modality) for channel in about.channels)
    rows = [(_("Segments"), _structures(_names(about))), (_("Images"), images)]
    if choice.model:
        rows += [
            (_("Licence"), choice.model.licence),
            (_("Accuracy"), _accuracy(choice.model.accuracy)),
            (_("Place"), choice.server)
            if choice.server
            else (_("Size"), _("{size}, installed").format(size=sizeText(choice.bytes))),
        ]
    elif choice.published:
        size = downloadSize(choice.published)
        rows += [
            (_("Licence"), choice.published.licence),
            (_("Size"), _("{size}, not installed").format(size=size) if size else _("not installed")),
        ]
    elif choice.task:
        dataset = choice.task.dataset
        rows += [
            (_("Data set"), dataset.name),
            (_("Licence"), dataset.licence),
            (_("Size"), _("no weights here")),
        ]
    if choice.elsewhere:
        rows += [
            (_("Labels"), ", ".join(f"{label.value} {label.name}" for label in about.labels)),
            (_("Published"), _("by others: {page}").format(page=choice.elsewhere.page)),
            (_("Cite"), choice.elsewhere.citation),
            (_("Stored as"), choice.elsewhere.orientation),
            (_("Tested"), "" if choice.model else choice.elsewhere.tested),
            (_("Not tested"), choice.elsewhere.untested),
        ]
    return f"<p style='margin-top: 0px; margin-bottom: 4px'>{rich_text(about.description)}</p>{_table(rows)}"


def sizeText(size: int) -> str:
    """The size of a model in MiB."""
    return _("{mib:.0f} MiB").format(mib=max(1, size / _MIB))


def downloadSize(published: PublishedModel, folds: int = 1) -> str:
    """The size of a download, or "" if it is not published."""
    if published.download:
        return sizeText(published.download.bytes)
    if published.elsewhere and published.elsewhere.fold_bytes:
        return sizeText(folds * published.elsewhere.fold_bytes)
    return ""


def _about(choice: TaskChoice) -> Any:
    about = choice.model or choice.task
    assert about
    return about


def _names(about: Any) -> list[str]:
    """The names of regions and labels, each once."""
    names = [*(region.name for region in about.regions), *(label.name for label in about.labels)]
    return list(dict.fromkeys(names))


def _structures(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    return _("{count} structures: {names} and {more} more").format(
        count=len(names), names=", ".join(names[: _MOST_NAMES - 1]), more=len(names) - _MOST_NAMES + 1
    )


def _image(name: str, modality: str) -> str:
    return modality if name == modality else f"{name} ({modality})"


def _accuracy(accuracy: dict[str, Any] | None) -> str:
    """The mean Dice, or else the source that the model's maker gives."""
    if not accuracy:
        return _("not measured")
    dice = accuracy.get("dice")
    mean = dice.get("mean") if isinstance(dice, dict) else dice
    if not isinstance(mean, int | float):
        return str(accuracy["source"])
    return _("Dice {dice:.3f}").format(dice=mean)


def _tooltip(choice: TaskChoice) -> str:
    """All names of structures, and the source of the accuracy."""
    names = _names(_about(choice))
    text = _("Segments {count} structures: {names}.").format(count=len(names), names=", ".join(names))
    if choice.elsewhere:
        text = f"{text} {choice.elsewhere.orientation_source}"
    if not choice.model or not choice.model.accuracy:
        return text
    return _("{text} Accuracy: {source}.").format(text=text, source=choice.model.accuracy["source"])


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (
        f'<tr><td style="padding-right: 8px"><b>{rich_text(name)}</b></td><td>{rich_text(text)}</td></tr>'
        for name, text in rows
        if text
    )
    return f'<table cellspacing="0" cellpadding="1">{"".join(cells)}</table>'
