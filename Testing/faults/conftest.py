"""Fixtures of the faults of downloads."""

from local_server import no_proxy, server  # noqa: F401
