"""The place of the runs: this computer, or a server with its address, key and certificate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mednext.errors import Cancelled, MedNeXtError, OptionError
from mednext.remote.address import Server
from slicer.i18n import tr as _

from ... import settings
from ...engine.run import Run
from ...engine.worker_client import remote_client
from ...server_settings import settingsServer
from ..messages import Messages

_HERE, _SERVER = 0, 1


class ServerView:
    """The rows "Device" and "Server" of the advanced options; every choice is kept in Slicer's settings.

    onChanged: is called after each change.
    """

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._onChanged = onChanged
        self._messages = Messages(ui.serverStatusLabel, ui.serverErrorLabel)
        self._test: Run[list[str]] | None = None
        self._edits = {
            ui.serverAddressEdit: settings.SERVER_ADDRESS,
            ui.serverKeyEdit: settings.SERVER_KEY,
            ui.serverCertificateEdit: settings.SERVER_CERTIFICATE,
        }
        ui.placeBox.addItem(_("This computer"))
        ui.placeBox.addItem(_("Server..."))
        ui.placeBox.setCurrentIndex(_SERVER if settings.SERVER_CHOSEN.get() else _HERE)
        ui.placeBox.connect("currentIndexChanged(int)", self._onPlace)
        for edit, setting in self._edits.items():
            edit.text = setting.get()
            edit.connect("editingFinished()", self._onEdited)
        ui.testServerButton.connect("clicked()", self._onTest)
        self._show()

    @property
    def chosen(self) -> bool:
        """Whether a server computes."""
        return bool(self._ui.placeBox.currentIndex == _SERVER)

    def server(self) -> Server | None:
        """The server of the next run; None for this computer. Raises `OptionError` for a wrong entry."""
        return settingsServer() if self.chosen else None

    def problem(self) -> str:
        """The reason why no run can begin on the server, or ""."""
        try:
            self.server()
        except OptionError as error:
            return str(error)
        return ""

    def warnings(self) -> tuple[str, ...]:
        """The sentence before a run on a server, whether the options are open or not."""
        if not self.chosen:
            return ()
        return (_("The images leave this computer: {server} segments them.").format(server=_name()),)

    def abandon(self) -> None:
        """Forget a test that runs, when the panel is closed."""
        if self._test:
            self._test.cancel()
            self._test = None

    def _onPlace(self, _index: int) -> None:
        settings.SERVER_CHOSEN.set(self.chosen)
        self._show()
        self._onChanged()

    def _onEdited(self) -> None:
        before = [setting.get() for setting in self._edits.values()]
        for edit, setting in self._edits.items():
            setting.set(edit.text.strip())
        if before != [setting.get() for setting in self._edits.values()]:
            self._messages.say("")
            self._onChanged()

    def _onTest(self) -> None:
        self.abandon()
        self._onEdited()
        try:
            client = remote_client(settingsServer())
        except MedNeXtError as error:
            self._messages.say(str(error), error=True)
            return
        self._messages.say(_("Asking the server"))
        self._test = test = client.greeting()
        test.follow(
            onDone=lambda lines: self._tell(test, "\n".join(lines)),
            onError=lambda error: self._tell(test, str(error), error),
        )

    def _tell(self, test: Run[list[str]], text: str, error: Exception | None = None) -> None:
        if test is self._test and not isinstance(error, Cancelled):
            self._test = None
            self._messages.say(text, error=error is not None)

    def _show(self) -> None:
        self._ui.serverGroup.visible = self.chosen
        self._ui.deviceBox.visible = not self.chosen


def _name() -> str:
    try:
        return settingsServer().name
    except OptionError:
        return _("the server")
