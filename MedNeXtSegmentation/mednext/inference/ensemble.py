"""Predict one tile: the mean of a model's networks over folds and mirrored copies.

`nnunet_v2` averages logits, `nnunet_v1` probabilities (softmax, or a sigmoid per region).

Tiles with a single value in each channel, as in the air around a patient, all get the same prediction: the
networks compute it once, and it is kept for the next such tile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import combinations, groupby

import torch
from torch import Tensor, nn

from ..errors import NumericalError
from ..model.description import Model
from ..system.cancellation import check_cancelled
from .accumulation import Adding
from .tile_sums import Averaged, Copies

logger = logging.getLogger(__name__)


class Ensemble:
    """Maps a tile to the mean prediction of all folds and mirrored copies.

        ensemble = Ensemble([bundle.network(0)], bundle.model, torch.device("cpu"), bundle.model.mirror_axes)
        ensemble(torch.zeros(1, 48, 64, 48)).shape  # (ensemble.outputs, 48, 64, 48)

    Args:
        networks: one per fold, in evaluation mode.
        model: its pipeline decides whether logits or probabilities are averaged.
        device: where the networks run; with mixed precision (fp16) on CUDA, in fp32 elsewhere.
        mirror_axes: spatial axes (0 = z, 1 = y, 2 = x); every combination of them is mirrored.
        uncertainty: return mean probabilities also where logits are averaged.
        on_fold: called after every fold of every tile.
        cancelled: asked before every pass through a network.

    Attributes:
        mixed_precision: whether the networks run in fp16; False once they overflowed.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        model: Model,
        device: torch.device,
        mirror_axes: Sequence[int],
        uncertainty: bool = False,
        on_fold: Callable[[], None] = lambda: None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.networks = [network.to(device) for network in networks]
        self.device = device
        logits = model.pipeline == "nnunet_v2"
        self._averaged = Averaged(
            model.network.num_classes, logits, uncertainty or not logits, model.output == "regions"
        )
        self._adding = Adding(device)
        self._flat = model.network.dimensions == 2
        spatial = [axis + 1 for axis in mirror_axes]  # of a tile with its channels
        self._flips = [axes for count in range(len(spatial) + 1) for axes in combinations(spatial, count)]
        self.mixed_precision = device.type == "cuda"
        self._on_fold = on_fold
        self._cancelled = cancelled
        self._of_air: tuple[tuple[float, ...], Tensor] | None = None  # its values and its prediction
        self._means: list[Tensor] = []  # of the current tiles; the next ones overwrite them

    @property
    def overflowed(self) -> bool:
        """Whether half precision had to be left."""
        return self.device.type == "cuda" and not self.mixed_precision

    @property
    def outputs(self) -> int:
        """Channels of a prediction: mean logits (if any), then mean probabilities (if any)."""
        return self._averaged.outputs

    def __call__(self, tile: Tensor) -> Tensor:
        """The prediction for one tile; see `predict`."""
        return next(self.predict([tile])).clone()

    @torch.inference_mode()
    def predict(self, tiles: Iterable[Tensor]) -> Iterator[Tensor]:
        """The mean prediction `(outputs, Z, Y, X)` for each tile `(C, Z, Y, X)`, in fp32.

        Takes as many tiles at once as the networks want, with all their mirrored copies. A prediction is only
        valid until the next one is requested.

        Raises:
            NumericalError: the network answered with NaN or infinite values.
            Cancelled: `cancelled` returned True.
        """
        group: list[Tensor] = []
        for tile in tiles:
            values = tile[:, :1, :1, :1]
            of_air = bool((tile == values).all())  # NaN is not equal to itself
            if not of_air:
                group.append(tile)
            if of_air or len(group) >= self._tiles_at_once(tile):
                yield from self._predict(group)
                group = []
            if of_air:
                yield self._predict_air(tile, values)
        yield from self._predict(group)

    def _predict_air(self, tile: Tensor, values: Tensor) -> Tensor:
        kind = (self.mixed_precision, *values.flatten().tolist())
        if self._of_air is None or self._of_air[0] != kind:
            self._of_air = None  # one prediction at a time
            (answer,) = self._predict([tile])
            self._of_air = kind, answer.clone()
        else:
            check_cancelled(self._cancelled)
            for _ in self.networks:
                self._on_fold()
        (mean,) = self._room([tile])
        return mean.copy_(self._of_air[1])

    def _predict(self, tiles: Sequence[Tensor]) -> list[Tensor]:
        means = self._room(tiles)
        done = self._fill(means, tiles)
        if done < len(self.networks):
            logger.warning("The network overflowed in half precision; continuing in full precision.")
            self.mixed_precision = False
            self._fill(means, tiles, told=done)
        return means

    def _fill(self, means: Sequence[Tensor], tiles: Sequence[Tensor], told: int = 0) -> int:
        """The means of these tiles; how many folds were done when half precision overflowed, or all.

        `told`: folds that were counted before.
        """
        here = [tile.to(self.device) for tile in tiles]
        copies = [(number, axes) for number in range(len(tiles)) for axes in self._flips]
        left = [self._passes] * len(tiles)
        for fold, network in enumerate(self.networks):
            together = self._images_at_once(network, tiles[0]) if tiles else 1
            for start in range(0, len(copies), together):
                check_cancelled(self._cancelled)
                some = copies[start : start + together]
                images = torch.stack(
                    [here[number].flip(axes) if axes else here[number] for number, axes in some]
                )
                batch = self._batch(some, means, left)
                if not self._adding.add_copies(self._run(network, images), batch, self._averaged):
                    if self.mixed_precision:
                        return fold
                    raise NumericalError(
                        "The network answered with NaN or infinite values. Check that the image has the "
                        "intensities that the model was trained for; if it has, the model's weights are at "
                        "fault."
                    )
            for _ in tiles if fold >= told else ():
                self._on_fold()
        return len(self.networks)

    def _batch(
        self, some: Sequence[tuple[int, tuple[int, ...]]], means: Sequence[Tensor], left: list[int]
    ) -> list[Copies]:
        """These copies (number of the tile, axes), grouped by tile; `left` counts the rest of each tile."""
        batch = []
        for number, of_tile in groupby(some, key=lambda copy: copy[0]):
            flips = [axes for _, axes in of_tile]
            first = left[number] == self._passes
            left[number] -= len(flips)
            batch.append(Copies(means[number], flips, first, 1 if left[number] else self._passes))
        return batch

    @property
    def _passes(self) -> int:
        """How many predictions a mean has."""
        return len(self.networks) * len(self._flips)

    def _room(self, tiles: Sequence[Tensor]) -> list[Tensor]:
        """Memory for the means of these tiles: that of the tiles before, whose means are no longer needed."""
        shapes = [(self.outputs, *tile.shape[1:]) for tile in tiles]
        if [mean.shape for mean in self._means[: len(tiles)]] != shapes:
            self._means = [torch.empty(shape, device=self.device) for shape in shapes]
        return self._means[: len(tiles)]

    def _tiles_at_once(self, tile: Tensor) -> int:
        """How many tiles with all their mirrored copies the networks take together, at least one."""
        images = min(self._images_at_once(network, tile) for network in self.networks)
        return max(1, images // len(self._flips))

    def _images_at_once(self, network: nn.Module, tile: Tensor) -> int:
        """How many tiles a network takes together; one if it has no such method, and after an overflow."""
        tell = getattr(network, "images_at_once", None)
        return tell(tile.shape[1:]) if tell and not self._flat and not self.overflowed else 1

    def _run(self, network: nn.Module, tiles: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.float16) if self.mixed_precision else nullcontext():
            logits = network(tiles.squeeze(2) if self._flat else tiles).float()
        return logits.unsqueeze(2) if self._flat else logits
