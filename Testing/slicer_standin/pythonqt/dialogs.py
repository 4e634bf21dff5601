"""Modal dialogs, whose answers a test queues beforehand.

    dialogs.answer(qt.QMessageBox.Yes)                     # the result of the next dialog
    dialogs.answer(lambda dialog: dialog.accept() or 1)    # or a function of the dialog
    dialogs.asked                                          # the dialogs that appeared, in order

A dialog without an answer raises StandInError and is remembered in `unanswered`, where a fixture finds it
even when the code under test swallowed the exception.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slicer_contract.qt_classes import QtWidgets

from ..errors import StandInError


@dataclass(frozen=True)
class Question:
    """A dialog that came up: its class or function, window title, and text."""

    kind: str
    title: str
    text: str


@dataclass
class Dialogs:
    """The answers that wait, and the questions that came."""

    asked: list[Question] = field(default_factory=list)
    unanswered: list[Question] = field(default_factory=list)
    _answers: deque[Any] = field(default_factory=deque)

    def answer(self, value: Any) -> None:
        """Queue the answer to the next dialog that has none: a value, or a function of the dialog."""
        self._answers.append(value)

    @property
    def unused(self) -> list[Any]:
        """Answers to dialogs that did not come up."""
        return list(self._answers)

    def clear(self) -> None:
        """Forget questions and answers."""
        self.asked.clear()
        self.unanswered.clear()
        self._answers.clear()

    def ask(self, question: Question, dialog: Any = None) -> Any:
        """The queued answer; raises StandInError without one."""
        self.asked.append(question)
        if not self._answers:
            self.unanswered.append(question)
            raise StandInError(f"this dialog would wait for ever, queue an answer for it: {question}")
        answer = self._answers.popleft()
        return answer(dialog) if callable(answer) else answer


dialogs = Dialogs()

DIALOG_CLASSES = (
    "QDialog",
    "QMessageBox",
    "QFileDialog",
    "QInputDialog",
    "QProgressDialog",
    "QColorDialog",
    "QMenu",
)
STATIC_FUNCTIONS = {
    "QFileDialog": ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"),
    "QInputDialog": ("getText", "getItem", "getInt", "getDouble", "getMultiLineText"),
    "QMessageBox": ("question", "warning", "information", "critical"),
}


def patch_dialogs() -> None:
    """Let every modal dialog of Qt ask the test."""
    for name in DIALOG_CLASSES:
        cls = getattr(QtWidgets, name)
        cls.exec = cls.exec_ = _run
    for class_name, functions in STATIC_FUNCTIONS.items():
        for function in functions:
            setattr(
                getattr(QtWidgets, class_name), function, staticmethod(_asking(f"{class_name}.{function}"))
            )


def _run(dialog: Any, *_arguments: Any) -> Any:
    text = dialog.text if isinstance(dialog, QtWidgets.QMessageBox) else ""
    return dialogs.ask(Question(dialog.className(), dialog.windowTitle, text), dialog)


def _asking(kind: str) -> Callable[..., Any]:
    def ask(_parent: Any = None, title: str = "", text: str = "", *_more: Any, **_named: Any) -> Any:
        return dialogs.ask(Question(kind, title, str(text)))

    return ask
