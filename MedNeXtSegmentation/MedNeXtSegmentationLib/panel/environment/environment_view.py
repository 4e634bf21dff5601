"""The section "Environment": check, repair, the time after which the device is freed, the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from mednext.errors import MedNeXtError, MissingPackageError
from mednext.system.shown_text import rich_text
from slicer.i18n import tr as _

from ... import settings
from ...engine.worker_client import WorkerClient
from ...environment.check import CheckResult, EnvironmentCheck
from ...environment.findings import Finding, Level, findingsOf
from ...environment.repair_plan import RepairPlan, TorchLook, lookAtTorch, missingRequirements, repairPlanFor
from .repair_view import RepairView

_POLL_MS = 100
_PAUSE_S = 0.02
_MARKS = {
    Level.OK: ("\N{CHECK MARK}", "#2e7d32"),
    Level.WARNING: ("!", "#b26a00"),
    Level.ERROR: ("\N{MULTIPLICATION SIGN}", "#c62828"),
}


class EnvironmentView:
    """Shows the findings of a check and repairs them; `prepareRun` installs PyTorch before the first run.

    onChanged: is called when a repair begins or ends.
    mayRepair: returns whether a repair may begin, since nothing else runs.

    Attributes:
        result: of the last check, or None.
    """

    def __init__(
        self, ui: Any, client: WorkerClient, onChanged: Callable[[], None], mayRepair: Callable[[], bool]
    ) -> None:
        self._ui = ui
        self._client = client
        self._mayRepair = mayRepair
        self._check: EnvironmentCheck | None = None
        self._afterCheck: Callable[[], None] | None = None
        self.result: CheckResult | None = None
        self.repair = RepairView(client, onChanged, self.showLog)
        ui.checkButton.connect("clicked()", self.check)
        ui.repairButton.connect("clicked()", self._repair)
        ui.environmentButton.connect("contentsCollapsed(bool)", lambda _collapsed: self.showLog())
        ui.idleBox.value = round(settings.IDLE_MINUTES.get())
        ui.idleBox.connect("valueChanged(int)", self._onIdle)
        client.release_after_s = settings.IDLE_MINUTES.get() * 60
        self._say(_("Not checked yet."))
        self._showStage("")

    @property
    def busy(self) -> bool:
        """Whether something is being installed."""
        return self.repair.running

    def abandon(self) -> None:
        """Forget a running check, when the panel is closed."""
        self._check = None

    def check(self, then: Callable[[], None] | None = None) -> None:
        """Begin a check unless one is running; `then` is called after it."""
        self._afterCheck = then
        if self._check is None:
            self._check = EnvironmentCheck()
            self._showStage(_("Checking: a separate process imports PyTorch"))
            qt.QTimer.singleShot(_POLL_MS, self._poll)

    def checkAndRepair(self) -> None:
        """Open the section, check, and repair the findings if the user agrees."""
        self._ui.advancedButton.collapsed = False
        self._ui.environmentButton.collapsed = False
        self.check(then=self._repair)

    def prepareRun(self, onStage: Callable[[str], None]) -> str:
        """Install missing packages before a run, if the user agrees; the event loop runs meanwhile.

        Returns the reason why no run can begin, or "". Raises `MedNeXtError` when an installation fails.
        """
        if self.busy:
            return _("An installation is running: segment again when it has ended.")
        look = lookAtTorch()
        plan = RepairPlan(torch=look is TorchLook.ABSENT, packages=bool(missingRequirements()))
        if look is TorchLook.STRANGE:
            onStage(_("Checking PyTorch"))
            plan = self._repairPlanOf(self._wait())
            if not plan:
                return self._worstFinding()
        return self.repair.repair(plan, onStage) if plan else ""

    def showLog(self) -> None:
        """Show the last lines of the worker's and of pip's output."""
        if not self._ui.environmentButton.collapsed:
            self._ui.logText.plainText = "\n".join([*self._client.log(), *self.repair.lines])
            bar = self._ui.logText.verticalScrollBar()
            bar.value = bar.maximum

    def _poll(self) -> None:
        if self._check is None:  # `_wait` has taken its result
            return
        if not self._check.finished:
            qt.QTimer.singleShot(_POLL_MS, self._poll)
            return
        self._take()
        then, self._afterCheck = self._afterCheck, None
        if then:
            then()

    def _wait(self) -> CheckResult:
        """Wait for the running or a new check while the event loop runs, and return its result."""
        check = self._check = self._check or EnvironmentCheck()
        while not check.finished:
            slicer.app.processEvents()
            time.sleep(_PAUSE_S)
        if self._check is check:
            self._take()
        assert self.result
        return self.result

    def _take(self) -> None:
        """Show the findings of the finished check."""
        assert self._check
        self.result, self._check = self._check.result(), None
        self._ui.findingsLabel.text = _table(findingsOf(self.result))
        self._showStage("")
        self.showLog()

    def _repair(self) -> None:
        plan = self._repairPlanOf(self.result)
        if not plan or not self._mayRepair():
            return
        self._ui.segmentButton.enabled = False  # until the panel is updated after the repair
        try:
            said = self.repair.repair(plan, self._showStage)
        except MedNeXtError as error:
            self._showStage("")
            self._say(str(error), Level.ERROR)
            return
        self._showStage("")
        if said:
            self._say(said, Level.WARNING)
        else:
            self.check()

    def _onIdle(self, minutes: int) -> None:
        settings.IDLE_MINUTES.set(float(minutes))
        self._client.release_after_s = minutes * 60.0

    def _showStage(self, stage: str) -> None:
        ui = self._ui
        ui.environmentStageLabel.text = stage
        ui.environmentProgress.visible = bool(stage)
        ui.checkButton.enabled = not stage
        ui.repairButton.enabled = not stage and bool(self._repairPlanOf(self.result))

    def _say(self, sentence: str, level: Level | None = None) -> None:
        self._ui.findingsLabel.text = _table([Finding(level, sentence)]) if level else rich_text(sentence)

    def _worstFinding(self) -> str:
        assert self.result
        worst = next(finding for finding in findingsOf(self.result))
        raise MissingPackageError(f"{worst.text} {worst.remedy}")

    @staticmethod
    def _repairPlanOf(result: CheckResult | None) -> RepairPlan:
        return repairPlanFor(findingsOf(result), result.facts.site_packages) if result else RepairPlan()


def _table(findings: Sequence[Finding]) -> str:
    """Rich text: for each finding a mark, the sentence, and below it the remedy."""
    rows = []
    for finding in findings:
        mark, color = _MARKS[finding.level]
        remedy = f"<br><i>{rich_text(finding.remedy)}</i>" if finding.remedy else ""
        rows.append(
            f'<tr><td style="color: {color}; padding-right: 6px"><b>{mark}</b></td>'
            f"<td>{rich_text(finding.text)}{remedy}</td></tr>"
        )
    return f'<table cellspacing="0" cellpadding="2">{"".join(rows)}</table>'
