"""Join an existing Ray cluster, or tell why that is impossible."""

from __future__ import annotations

import os
import socket
from typing import Any

from ...errors import OptionError

_CONNECTING_S = 5.0


def join_cluster(address: str, **settings: Any) -> None:
    """Connect this process to the cluster at "auto" or "host:6379"; `settings` are those of `ray.init`.

    Raises `OptionError` where no cluster answers, or does not let this process in.
    """
    import ray

    try:
        _check_port(address)  # Ray would try for minutes
        ray.init(address, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        hint = "set RAY_AUTH_MODE=token, if it asks for a token"
        if os.environ.get("RAY_AUTH_MODE") == "token":
            hint = "compare the tokens in ~/.ray/auth_token"
        raise OptionError(
            f"No Ray cluster answers at {address} ({error}): start it with 'ray start --head', and {hint}."
        ) from error


def _check_port(address: str) -> None:
    """Raise OSError if no program listens at `host:port`, ValueError for a wrong port."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), _CONNECTING_S).close()
