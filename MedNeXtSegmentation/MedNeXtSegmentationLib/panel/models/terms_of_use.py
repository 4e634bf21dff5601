"""Terms of use that a user must accept before a model is downloaded."""

from __future__ import annotations

import hashlib
import re

from mednext.system.shown_text import rich_text
from slicer.i18n import tr as _

from ... import settings
from .task_choices import TaskChoice

_NOT_FOR_ALL = re.compile(r"\bNC\b|non-?commercial|research (use )?only", re.IGNORECASE)


def termsOf(choice: TaskChoice) -> str:
    """The terms of a downloadable model as rich text; "" for a model without restrictions.

    Restrictions are non-commercial licences, and training data for registered users only. A model that others
    published always has terms.
    """
    published, task = choice.published, choice.task
    if published is None:
        return ""
    terms = []
    if published.elsewhere:
        terms.append(
            _("The weights are published by others. Their licence: {licence}.").format(
                licence=published.licence
            )
        )
    elif _NOT_FOR_ALL.search(published.licence):
        terms.append(
            _("The licence of the weights restricts their use: {licence}.").format(licence=published.licence)
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
    urls = [published.elsewhere.page] if published.elsewhere else []
    for url in dict.fromkeys([*urls, *([task.dataset.url] if task else [])]):
        lines.append(f'<a href="{rich_text(url)}">{rich_text(url)}</a>')
    return "<br>".join(lines)


def areAccepted(choice: TaskChoice) -> bool:
    """Whether the user has accepted the present terms of this model, in this or an earlier session."""
    return _mark(choice) in settings.ACCEPTED_TERMS.get().split()


def accept(choice: TaskChoice) -> None:
    """Store that the user accepts the terms of this model."""
    if not areAccepted(choice):
        settings.ACCEPTED_TERMS.set(f"{settings.ACCEPTED_TERMS.get()} {_mark(choice)}".strip())


def _mark(choice: TaskChoice) -> str:
    """The model and its terms: others must be accepted anew."""
    return f"{choice.name}@{hashlib.sha256(termsOf(choice).encode()).hexdigest()[:12]}"
