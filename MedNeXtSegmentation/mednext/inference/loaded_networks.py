"""Networks that stay loaded between runs, so that the next run with the same model begins at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..model.bundle import Bundle
from ..model.description import NetworkSpec
from .progress import Progress, counter

if TYPE_CHECKING:
    from ..network.formulation import FastNetwork

_Key = tuple[str, NetworkSpec, str]


class LoadedNetworks:
    """The networks of the last run, each on the device where it ran last, in its fastest formulation.

    A network is known by the SHA-256 of its weights, its description and its precision: a file that was
    replaced on disk is loaded again.
    """

    def __init__(self) -> None:
        self._networks: dict[_Key, FastNetwork] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def load(
        self, bundle: Bundle, folds: Sequence[int], precision: str, progress: Callable[[Progress], None]
    ) -> list[FastNetwork]:
        """The networks of these folds; loaded ones are reused, all others are released first.

        Raises the errors of `Bundle.network`, and OptionError for a precision that does not exist.
        """
        from ..network.formulation import FastNetwork  # imports torch

        keys = {fold: _key(bundle, fold, precision) for fold in folds}
        self._networks = {key: self._networks[key] for key in keys.values() if key in self._networks}
        missing = {fold: key for fold, key in keys.items() if key not in self._networks}
        loaded = counter(progress, "loading", len(missing)) if missing else None
        for fold, key in missing.items():
            self._networks[key] = FastNetwork(bundle.network(fold), precision)
            if loaded:
                loaded()
        return [self._networks[key] for key in keys.values()]

    def clear(self) -> None:
        """Release all networks."""
        self._networks.clear()


def _key(bundle: Bundle, fold: int, precision: str) -> _Key:
    return bundle.fold(fold).sha256, bundle.model.network, precision
