"""Which models have terms that a user must accept before they are downloaded, and who has."""

from __future__ import annotations

import re

from mednext.system.shown_text import rich_text
from slicer.i18n import tr as _

from ... import settings
from .task_choices import TaskChoice

_NOT_FOR_ALL = re.compile(r"\bNC\b|non-?commercial|research (use )?only", re.IGNORECASE)


def termsOf(choice: TaskChoice) -> str:
    """Rich text of the terms of a model that can be downloaded; "" for one that anybody may use for anything.

    Restricted are licences without commercial use, and weights from data that only registered users get.
    """
    published, task = choice.published, choice.task
    if published is None:
        return ""
    terms = []
    if _NOT_FOR_ALL.search(published.licence):
        terms.append(
            _("The weights may not be used for everything: {licence}.").format(licence=published.licence)
        )
    if task and (task.dataset.access == "registration" or _NOT_FOR_ALL.search(task.dataset.licence)):
        terms.append(
            _("They were trained on {name}, whose owner sets terms: {licence}").format(
                name=task.dataset.name, licence=task.dataset.licence
            )
        )
    if not terms:
        return ""
    lines = [rich_text(term) for term in terms]
    if task:
        url = rich_text(task.dataset.url)
        lines.append(f'<a href="{url}">{url}</a>')
    return "<br>".join(lines)


def areAccepted(name: str) -> bool:
    """Whether the user has accepted the terms of this model, at whatever time."""
    return name in settings.ACCEPTED_TERMS.get().split()


def accept(name: str) -> None:
    """Remember that the user accepts the terms of this model."""
    accepted = settings.ACCEPTED_TERMS.get().split()
    if name not in accepted:
        settings.ACCEPTED_TERMS.set(" ".join([*accepted, name]))
