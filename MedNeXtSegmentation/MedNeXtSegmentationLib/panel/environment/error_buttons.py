"""The buttons beside an error: copy diagnostics for a developer, check and repair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from mednext.errors import EngineProcessError, MissingPackageError

from ...engine.worker_client import WorkerClient
from ...environment.diagnostics import Diagnostics
from ...scene.result_record import provenance_of
from .environment_view import EnvironmentView

_LOG_LINES = 60


class ErrorButtons:
    """Shows buttons below the error of a run, as long as the error is shown.

    lastResult: returns the last segmentation node, or None.

    Attributes:
        diagnostics: notes runs and errors for the report.
    """

    def __init__(
        self, ui: Any, client: WorkerClient, environment: EnvironmentView, lastResult: Callable[[], Any]
    ) -> None:
        self._ui = ui
        self._client = client
        self._environment = environment
        self._lastResult = lastResult
        self.diagnostics = Diagnostics()
        ui.checkAndRepairButton.connect("clicked()", environment.checkAndRepair)
        for button in (ui.copyDiagnosticsButton, ui.copyAllDiagnosticsButton):
            button.connect("clicked()", self.copy)
        self.show(None)

    def show(self, error: Exception | None) -> None:
        """Show the buttons beside an error; None hides them."""
        self._ui.errorButtonsWidget.visible = error is not None
        self._ui.checkAndRepairButton.visible = isinstance(error, EngineProcessError | MissingPackageError)
        self._showCopied(False)
        if error:
            self.diagnostics.noteError(error)

    def _showCopied(self, copied: bool) -> None:
        self._ui.copiedLabel.visible = self._ui.allCopiedLabel.visible = copied

    def copy(self) -> None:
        """Put the report into the clipboard."""
        node = self._lastResult()
        provenance = provenance_of(node) if node else {}
        log = self._client.log()[-_LOG_LINES:]
        text = self.diagnostics.text(
            self._environment.result, provenance, log, self._environment.repair.lines
        )
        qt.QApplication.clipboard().setText(text)
        self._showCopied(True)
