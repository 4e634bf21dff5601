"""A repair with its question, its stages and its log."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import slicer
from mednext.errors import MedNeXtError, MissingPackageError
from mednext.system.shown_text import tool_tip
from slicer.i18n import tr as _

from ...engine.worker_client import WorkerClient
from ...environment.repair import repair
from ...environment.repair_plan import RepairPlan, question

logger = logging.getLogger(__name__)

_KEPT_LINES = 300


class RepairView:
    """Carries out one repair at a time.

    onChanged: is called when a repair begins or ends.
    onLine: is called for every line of pip's output.

    Attributes:
        running: whether a repair is running.
        lines: the last lines of pip's output.
    """

    def __init__(
        self, client: WorkerClient, onChanged: Callable[[], None], onLine: Callable[[], None]
    ) -> None:
        self._client = client
        self._onChanged = onChanged
        self._onLine = onLine
        self.running = False
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def repair(self, plan: RepairPlan, onStage: Callable[[str], None]) -> str:
        """Ask the user, and repair. Returns a sentence for the user, or "" when all is well.

        The event loop runs meanwhile. Raises `MedNeXtError` when the repair fails.
        """
        if slicer.app.testingEnabled():  # Slicer would answer the question by itself
            raise MissingPackageError(_("Nothing is installed while Slicer tests itself."))
        if self.running or not slicer.util.confirmOkCancelDisplay(
            tool_tip(question(plan)), _("MedNeXt Segmentation")
        ):
            return _("Nothing was installed. You will be asked again when you segment.")
        self.running = True
        self._onChanged()
        try:
            restart = repair(plan, self._client, onStage, self._keep)
        except MedNeXtError as error:
            logger.error("Repair failed: %s", error, exc_info=error)
            raise
        finally:
            self.running = False
            self._onChanged()
        if restart:
            return _("Everything is installed. Restart Slicer: another module still uses the old PyTorch.")
        return ""

    def _keep(self, line: str) -> None:
        self.lines.append(line)
        self._onLine()
