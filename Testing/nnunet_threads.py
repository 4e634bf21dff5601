"""nnU-Net's pools as threads: each of its processes would import torch and nnU-Net anew, for seconds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="module")
def nnunet_in_threads() -> Iterator[None]:
    """While a module's tests run, pools of new processes are pools of threads."""
    real = multiprocessing.get_context

    def get_context(method: str | None = None) -> Any:
        return SimpleNamespace(Pool=ThreadPool) if method == "spawn" else real(method)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", get_context)
        yield
