"""A fixture of the tests of runs on a card, for which a device of its own stands in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fixtures.machines.apple_gpu import MPS, AppleGpu
from mednext.inference import preprocessing
from mednext.inference import segment as pipeline


@pytest.fixture
def _card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The device "auto" is a card that preprocesses."""
    monkeypatch.setattr(pipeline, "choose_device", lambda name: MPS if name == "auto" else torch.device(name))
    monkeypatch.setattr(pipeline, "trouble", lambda *_: None)
    monkeypatch.setattr(preprocessing, "DEVICES", ("mps",))
    with AppleGpu(float64=True):
        yield
