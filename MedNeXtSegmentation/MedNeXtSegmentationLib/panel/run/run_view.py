"""The button Segment, and the progress and outcome of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from mednext.errors import Cancelled, MedNeXtError
from slicer.i18n import tr as _

from ...engine.run import Run
from ..messages import Messages, withRemainingTime

_MEASURED = ("network", "uploading", "downloading")  # stages whose length is known


class RunView:
    """Shows one run at a time: its progress, then its error if there is one.

    prepare: is called before a run with a callback for stages; lets the event loop run, and returns the
        reason why no run can begin, or "".
    start: begins a segmentation with these callbacks.
    onChanged: is called when a run begins or ends.
    onDone: gets the segmentation node.
    onError: gets the shown error, or None when it is hidden.
    """

    def __init__(
        self,
        ui: Any,
        prepare: Callable[[Callable[[str], None]], str],
        start: Callable[..., Run],
        onChanged: Callable[[], None],
        onDone: Callable[[slicer.vtkMRMLSegmentationNode], None],
        onError: Callable[[Exception | None], None],
    ) -> None:
        self._ui = ui
        self._messages = Messages(ui.statusLabel, ui.errorLabel)
        self._prepare = prepare
        self._onError = onError
        self._start = start
        self._onChanged = onChanged
        self._onDone = onDone
        self._run: Run | None = None
        self._wanted = False  # until its scene is closed
        self._remarks: list[str] = []  # of the run, shown also after its end
        self._preparing = False
        ui.segmentButton.connect("clicked()", self._onClicked)
        self.say("")
        self._show()

    @property
    def running(self) -> bool:
        """Whether a run is running or prepared."""
        return self._run is not None or self._preparing

    def abandon(self) -> None:
        """Cancel the run without further callbacks, when its scene is closed."""
        if self._run:
            self._run.cancel()
            self._run.unfollow()
        self._run, self._wanted = None, False
        self.say("")
        self._show()

    def say(self, sentence: str, error: bool = False) -> None:
        """Show a sentence below the button, as an error or as a remark."""
        self._messages.say(sentence, error)
        if not error:
            self._onError(None)

    def _onClicked(self) -> None:
        if self._run:
            self._ui.segmentButton.enabled = False
            self._ui.stageLabel.text = _("Cancelling...")
            self._run.cancel()
        elif not self._preparing:
            self._begin()

    def _begin(self) -> None:
        self._remarks = []
        self.say("")
        try:
            if not self._isPrepared():
                return
            self._run = self._start(onProgress=self._showProgress, onDone=self._done, onError=self._failed)
        except MedNeXtError as error:
            self._failed(error)
            return
        self._show()
        self._onChanged()

    def _isPrepared(self) -> bool:
        """Prepare a run. Returns whether it can begin: also not after the scene was closed."""
        self._preparing = self._wanted = True
        try:
            reason = self._prepare(self._showPreparing)
        finally:
            self._preparing = False
        if self._wanted and not reason:
            return True
        self._end()
        if self._wanted:
            self.say(reason)
        return False

    def _showPreparing(self, stage: str) -> None:
        self._show()
        self._ui.segmentButton.text = _("&Segment")
        self._ui.segmentButton.enabled = False  # an installation cannot be cancelled
        self._ui.stageLabel.text = stage

    def _done(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self._end()
        self._onDone(node)

    def _failed(self, error: Exception) -> None:
        self._end()
        if isinstance(error, Cancelled):
            self.say(_("Cancelled. Nothing was added to the scene."))
            return
        self._onError(error)
        self._messages.fail(error)

    def _end(self) -> None:
        self._run = None
        self._show()
        self._onChanged()

    def _show(self) -> None:
        ui = self._ui
        ui.segmentButton.text = _("&Cancel") if self.running else _("&Segment")
        ui.progressWidget.visible = self.running
        if self.running:
            ui.segmentButton.enabled = True
            ui.segmentButton.toolTip = _("End the run; nothing is added to the scene.")
            ui.progressBar.setRange(0, 0)
            ui.stageLabel.text = _("Starting")

    def _showProgress(self, event: dict[str, Any]) -> None:
        stage, done, total = event["stage"], event["done"], event["total"]
        if stage in _MEASURED:
            self._ui.progressBar.setRange(0, total)
            self._ui.progressBar.setValue(done)
        elif event.get("frame", 1) == 1:
            self._ui.progressBar.setRange(0, 0)  # its length is unknown
        remark = event.get("remark")
        if remark and remark not in self._remarks:
            self._remarks.append(remark)
            self.say(" ".join(self._remarks))
        if self._ui.segmentButton.enabled:  # disabled after a cancel
            self._ui.stageLabel.text = _stageText(stage, done, total, event["remaining_s"])
            if "frames" in event:
                self._ui.stageLabel.text = _("Frame {frame} of {frames}: {text}").format(
                    frame=event["frame"], frames=event["frames"], text=self._ui.stageLabel.text
                )
            if "cases" in event:
                self._ui.stageLabel.text = _("Image {case} of {cases}: {text}").format(
                    case=event["case"], cases=event["cases"], text=self._ui.stageLabel.text
                )


def _stageText(stage: str, done: int, total: int, remaining_s: float | None) -> str:
    names = {
        "sending": _("Sending the images to the engine"),
        "reading": _("Reading the images"),
        "starting": _("Starting the engine"),
        "uploading": _("Sending the images to the server, {done} of {total} KiB"),
        "queued": _("Waiting for the server, position {total} in the queue")
        if total
        else _("Waiting for room on the server"),
        "downloading": _("Fetching the result, {done} of {total} KiB"),
        "locating": _("Finding the structure, step {done} of {total}"),
        "loading": _("Loading the model"),
        "preprocessing": _("Preparing the images"),
        "network": _("Segmenting, tile {done} of {total}"),
        "postprocessing": _("Finishing"),
    }
    text = names.get(stage, stage).format(done=done, total=total)
    if stage not in ("network", "queued") or remaining_s is None:
        return text
    return withRemainingTime(text, remaining_s)
