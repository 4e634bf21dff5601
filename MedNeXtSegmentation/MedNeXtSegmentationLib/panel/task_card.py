"""The card below the list: what a model segments, from what, how well, and under which licence."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from slicer.i18n import tr as _

from .task_choices import TaskChoice

_MIB = 2**20


def cardOf(choice: TaskChoice) -> str:
    """Rich text about a model, or about a task without one."""
    about = choice.model or choice.task
    assert about
    rows = [
        (_("Segments"), ", ".join(label.name for label in about.labels)),
        (_("Images"), ", ".join(_image(channel.name, channel.modality) for channel in about.channels)),
    ]
    if choice.model:
        rows += [
            (_("Licence"), choice.model.licence),
            (_("Accuracy"), _accuracy(choice.model.accuracy)),
            (_("Size"), _("{mib:.0f} MiB, installed").format(mib=max(1, choice.bytes / _MIB))),
        ]
    elif choice.task:
        dataset = choice.task.dataset
        rows += [(_("Data set"), _("{name}, {licence}").format(name=dataset.name, licence=dataset.licence))]
    return f"<p style='margin-bottom: 4px'>{escape(about.description)}</p>{_table(rows)}"


def _image(name: str, modality: str) -> str:
    return modality if name == modality else f"{name} ({modality})"


def _accuracy(accuracy: dict[str, Any] | None) -> str:
    """The mean Dice and where it was measured; a model says as much as its maker put there."""
    if not accuracy:
        return _("not measured")
    dice = accuracy.get("dice")
    mean = dice.get("mean") if isinstance(dice, dict) else dice
    source = str(accuracy["source"])
    if not isinstance(mean, int | float):
        return source
    return _("Dice {dice:.3f}. {source}").format(dice=mean, source=source)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (
        f'<tr><td style="padding-right: 8px"><b>{escape(name)}</b></td><td>{escape(text)}</td></tr>'
        for name, text in rows
        if text
    )
    return f'<table cellspacing="0" cellpadding="1">{"".join(cells)}</table>'
