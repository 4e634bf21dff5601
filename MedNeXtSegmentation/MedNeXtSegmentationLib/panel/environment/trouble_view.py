"""The buttons beside an error: copy what a developer needs to know, check and mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from mednext.errors import EngineProcessError, MissingPackageError

from ...engine.worker_client import WorkerClient
from ...environment.diagnostics import Diagnostics
from ...scene.provenance import provenance_of
from .environment_view import EnvironmentView

_LOG_LINES = 60


class TroubleView:
    """Stands below the error of a run, and is there while that is.

    lastResult: returns the last segmentation node, or None.

    Attributes:
        diagnostics: where runs and errors are noted.
    """

    def __init__(
        self, ui: Any, client: WorkerClient, environment: EnvironmentView, lastResult: Callable[[], Any]
    ) -> None:
        self._ui = ui
        self._client = client
        self._environment = environment
        self._lastResult = lastResult
        self.diagnostics = Diagnostics()
        ui.checkAndMendButton.connect("clicked()", environment.checkAndMend)
        for button in (ui.copyDiagnosticsButton, ui.copyAllDiagnosticsButton):
            button.connect("clicked()", self.copy)
        self.show(None)

    def show(self, error: Exception | None) -> None:
        """Stand beside an error, or go."""
        self._ui.troubleWidget.visible = error is not None
        self._ui.checkAndMendButton.visible = isinstance(error, EngineProcessError | MissingPackageError)
        self._showCopied(False)  # that was before
        if error:
            self.diagnostics.noteError(error)

    def _showCopied(self, copied: bool) -> None:
        self._ui.copiedLabel.visible = self._ui.allCopiedLabel.visible = copied

    def copy(self) -> None:
        """Put everything into the clipboard."""
        node = self._lastResult()
        provenance = provenance_of(node) if node else {}
        log = self._client.log()[-_LOG_LINES:]
        text = self.diagnostics.text(
            self._environment.result, provenance, log, self._environment.mending.lines
        )
        qt.QApplication.clipboard().setText(text)
        self._showCopied(True)
