"""Fixtures of the faults of downloads."""

from fixtures.downloads.local_server import no_proxy, server  # noqa: F401
