"""The place of the runs: this computer, or a server with its address, key, certificate and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mednext.errors import OptionError
from mednext.model.description import Model
from mednext.remote.address import Server
from mednext.worker.protocol import Greeting
from slicer.i18n import tr as _

from ... import settings
from ...engine.run import Run
from ...engine.worker_client import remote_client
from ...server_settings import settingsServer
from ..messages import Messages

_HERE, _SERVER = 0, 1


class ServerView:
    """The rows "Device" and "Server" of the advanced options; every choice is kept in Slicer's settings.

    A chosen server is asked for its models, which then are the choices of the panel.

    onChanged: is called after each change, and after each answer of the server.

    Attributes:
        models: those of the server, once it has answered.
    """

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._onChanged = onChanged
        self._messages = Messages(ui.serverStatusLabel, ui.serverErrorLabel)
        self._asking: Run[Greeting] | None = None
        self._trouble = ""  # the reason why the models are unknown
        self.models: tuple[Model, ...] | None = None
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
            server = self.server()
        except OptionError as error:
            return str(error)
        if server is None or self.models is not None:
            return ""
        if not self._trouble:
            return _("Waiting for the models of {server}.").format(server=server.name)
        return _('{trouble} To compute here: Advanced, Device, "This computer".').format(
            trouble=self._trouble
        )

    def warnings(self) -> tuple[str, ...]:
        """The sentence before a run on a server, whether the options are open or not."""
        if not self.chosen:
            return ()
        return (_("The images leave this computer: {server} segments them.").format(server=_name()),)

    def ask(self) -> None:
        """Ask a chosen server for its models, unless an entry is wrong or it is being asked already."""
        try:
            server = self.server()
        except OptionError:
            return
        if server is not None and self._asking is None:
            self._greet(server)

    def abandon(self) -> None:
        """Forget a server that is being asked, when the panel is closed or other entries are made."""
        if self._asking:
            self._asking.cancel()
            self._asking.unfollow()
            self._asking = None

    def _onPlace(self, _index: int) -> None:
        settings.SERVER_CHOSEN.set(self.chosen)
        self._show()
        self._askAnew()

    def _onEdited(self) -> None:
        before = [setting.get() for setting in self._edits.values()]
        for edit, setting in self._edits.items():
            setting.set(edit.text.strip())
        if before != [setting.get() for setting in self._edits.values()]:
            self._askAnew()

    def _askAnew(self) -> None:
        self.abandon()
        self.models, self._trouble = None, ""
        self._messages.say("")
        self.ask()
        self._onChanged()

    def _onTest(self) -> None:
        self._onEdited()
        self.abandon()
        try:
            self._greet(settingsServer())
        except OptionError as error:
            self._messages.say(str(error), error=True)

    def _greet(self, server: Server) -> None:
        self._messages.say(_("Asking the server"))
        self._asking = remote_client(server).greeting()
        self._asking.follow(
            onDone=lambda greeting: self._heard("\n".join(greeting.lines), greeting.models),
            onError=lambda error: self._heard(str(error), None),
        )

    def _heard(self, text: str, models: tuple[Model, ...] | None) -> None:
        self._asking = None
        self.models, self._trouble = models, "" if models is not None else text
        self._messages.say(text, error=models is None)
        self._onChanged()

    def _show(self) -> None:
        self._ui.serverGroup.visible = self.chosen
        self._ui.deviceBox.visible = not self.chosen


def _name() -> str:
    try:
        return settingsServer().name
    except OptionError:
        return _("the server")
