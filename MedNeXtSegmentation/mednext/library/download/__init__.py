"""Download a file: resumed after interruptions, from mirrors, verified before it is used."""

from __future__ import annotations

from .http_stream import HttpStream, reason_of, status_of
from .partial import part_file
from .resumable import DownloadProgress, Span, download
from .retrying import Patience

__all__ = [
    "DownloadProgress",
    "HttpStream",
    "Patience",
    "Span",
    "download",
    "part_file",
    "reason_of",
    "status_of",
]
