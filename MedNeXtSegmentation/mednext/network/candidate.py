"""A formulation of a network, and how exact it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

FULL, HALF = 1e-4, 5e-2  # tolerances, of the largest logit; usual differences are 1e-6 and 1e-2


@dataclass(frozen=True)
class Formulation:
    """A way to compute a network.

    Attributes:
        name: for the log and the provenance.
        make: makes the network.
        tolerance: largest accepted difference from the plain logits, in units of the largest logit.
        frugal: it needs far less memory than the plain network.
    """

    name: str
    make: Callable[[], nn.Module]
    tolerance: float = FULL
    frugal: bool = False
