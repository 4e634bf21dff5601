"""Waiting that a user can end: `cancelled` is a callable that answers True once Cancel was pressed."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import Cancelled

POLL_S = 0.1


def check_cancelled(cancelled: Callable[[], bool] | None) -> None:
    """Raise Cancelled if the user has cancelled."""
    if cancelled is not None and cancelled():
        raise Cancelled("Cancelled by the user.")


def wait(seconds: float, cancelled: Callable[[], bool] | None = None) -> None:
    """Sleep, but wake up within `POLL_S` when the user cancels.

    Raises:
        Cancelled: `cancelled` answered True.
    """
    end = time.monotonic() + seconds
    while True:
        check_cancelled(cancelled)
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(POLL_S, left))
