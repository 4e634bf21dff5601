"""The server of the user's settings, which the panel offers and scripts name by its address."""

from __future__ import annotations

import os

from mednext.errors import OptionError
from mednext.remote.address import KEY_VARIABLE, Server
from slicer.i18n import tr as _

from . import settings


def settingsServer() -> Server:
    """The server that was entered in the panel. Raises `OptionError` with the fault in it."""
    if not settings.SERVER_ADDRESS.get():
        raise OptionError(_("Enter the address of the server, such as https://gpu.example:8443."))
    return Server(settings.SERVER_ADDRESS.get(), settings.SERVER_KEY.get(), settings.SERVER_CERTIFICATE.get())


def serverAt(address: str) -> Server:
    """The server at an address, with the key of the settings or of `$MEDNEXT_SERVER_KEY`.

    Raises `OptionError`.
    """
    if address.strip().rstrip("/") == settings.SERVER_ADDRESS.get().strip().rstrip("/"):
        return settingsServer()
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise OptionError(
            _("The key for {address} is missing: enter it in the panel, or set {variable}.").format(
                address=address, variable=KEY_VARIABLE
            )
        )
    return Server(address, key)
