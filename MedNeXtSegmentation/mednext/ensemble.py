"""What a model's networks say about one tile: averaged over folds and mirrored copies.

`nnunet_v2` averages logits, `nnunet_v1` probabilities (softmax, or a sigmoid per region).

Tiles that hold one value in each channel, as in the air around a patient, all get the same prediction: the
networks are asked once, and their answer is kept for the next of these tiles.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import combinations

import torch
from torch import Tensor, nn

from .cancellation import check_cancelled
from .errors import NumericalError
from .model import Model

logger = logging.getLogger(__name__)

_PLANES = 8  # that are turned back, and made probabilities of, at a time on the CPU: they stay in its caches


class Ensemble:
    """Maps a tile to the mean prediction of all folds and mirrored copies.

        ensemble = Ensemble([bundle.network(0)], bundle.model, torch.device("cpu"), bundle.model.mirror_axes)
        ensemble(torch.zeros(1, 48, 64, 48)).shape  # (ensemble.outputs, 48, 64, 48)

    Args:
        networks: one per fold, in evaluation mode.
        model: says what is averaged.
        device: where the networks run; with mixed precision (fp16) on CUDA, in fp32 elsewhere.
        mirror_axes: spatial axes (0 = z, 1 = y, 2 = x); every combination of them is mirrored.
        uncertainty: answer with mean probabilities also where logits are averaged.
        on_fold: called after every fold of every tile.
        cancelled: asked before every pass through a network.
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
        self.classes = model.network.num_classes
        self.logits = model.pipeline == "nnunet_v2"
        self.probabilities = uncertainty or not self.logits
        self._regions = model.output == "regions"
        self._flat = model.network.dimensions == 2
        spatial = [axis + 1 for axis in mirror_axes]  # of a tile with its channels
        self._flips = [axes for count in range(len(spatial) + 1) for axes in combinations(spatial, count)]
        self._mixed_precision = device.type == "cuda"
        self._on_fold = on_fold
        self._cancelled = cancelled
        self._of_air: tuple[tuple[float, ...], Tensor] | None = None  # what a tile is, and its prediction
        self._means: list[Tensor] = []  # of the tiles at work; the next ones overwrite them

    @property
    def outputs(self) -> int:
        """Channels of an answer: mean logits (if any), then mean probabilities (if any)."""
        return self.classes * (self.logits + self.probabilities)

    def __call__(self, tile: Tensor) -> Tensor:
        """The prediction for one tile; see `predict`."""
        return next(self.predict([tile])).clone()

    @torch.inference_mode()
    def predict(self, tiles: Iterable[Tensor]) -> Iterator[Tensor]:
        """The mean prediction `(outputs, Z, Y, X)` for each tile `(C, Z, Y, X)`, in fp32.

        As many tiles are taken at once as the networks want, with all their mirrored copies. A prediction is
        only valid until the next one is asked for.

        Raises:
            NumericalError: the network answered with NaN or infinite values.
            Cancelled: the user asked for it.
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
        kind = (self._mixed_precision, *values.flatten().tolist())
        if self._of_air is None or self._of_air[0] != kind:
            self._of_air = None  # one prediction at a time
            (answer,) = self._predict([tile])
            self._of_air = kind, answer.clone()
        else:
            check_cancelled(self._cancelled)
            for _ in self.networks:
                self._on_fold()
        (mean,) = self._zeros([tile])
        return mean.copy_(self._of_air[1])

    def _predict(self, tiles: Sequence[Tensor]) -> list[Tensor]:
        means = self._zeros(tiles)
        here = [tile.to(self.device) for tile in tiles]
        copies = [(number, axes) for number in range(len(tiles)) for axes in self._flips]
        for network in self.networks:
            together = self._images_at_once(network, tiles[0]) if tiles else 1
            for start in range(0, len(copies), together):
                check_cancelled(self._cancelled)
                some = copies[start : start + together]
                images = torch.stack(
                    [here[number].flip(axes) if axes else here[number] for number, axes in some]
                )
                for (number, axes), logits in zip(some, self._run(network, images), strict=True):
                    self._add(means[number], logits, axes)
            for _ in tiles:
                self._on_fold()
        count = len(self.networks) * len(self._flips)
        return [mean.div_(count) for mean in means]

    def _zeros(self, tiles: Sequence[Tensor]) -> list[Tensor]:
        """Room for the means of these tiles: that of the tiles before, which a run never needs together."""
        shapes = [(self.outputs, *tile.shape[1:]) for tile in tiles]
        if [mean.shape for mean in self._means[: len(tiles)]] != shapes:
            self._means = [torch.empty(shape, device=self.device) for shape in shapes]
        return [mean.zero_() for mean in self._means[: len(tiles)]]

    def _tiles_at_once(self, tile: Tensor) -> int:
        """How many tiles with all their mirrored copies the networks take together, at least one."""
        images = min(self._images_at_once(network, tile) for network in self.networks)
        return max(1, images // len(self._flips))

    def _images_at_once(self, network: nn.Module, tile: Tensor) -> int:
        """How many tiles a network takes together; one, if it does not say or after an overflow."""
        tell = getattr(network, "images_at_once", None)
        overflowed = self.device.type == "cuda" and not self._mixed_precision
        return tell(tile.shape[1:]) if tell and not self._flat and not overflowed else 1

    def _add(self, mean: Tensor, logits: Tensor, axes: tuple[int, ...]) -> None:
        """Add logits of a copy that was mirrored along these axes of `(K, Z, Y, X)`."""
        depth = logits.shape[1]
        planes = depth if logits.device.type != "cpu" else _PLANES
        for start in range(0, depth, planes):
            stop = min(start + planes, depth)
            some = logits[:, depth - stop : depth - start] if 1 in axes else logits[:, start:stop]
            some = some.flip(axes) if axes else some
            if self.logits:
                mean[: self.classes, start:stop] += some
            if self.probabilities:
                some = torch.sigmoid(some) if self._regions else torch.softmax(some, dim=0)
                mean[-self.classes :, start:stop] += some

    def _run(self, network: nn.Module, tiles: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.float16) if self._mixed_precision else nullcontext():
            logits = network(tiles.squeeze(2) if self._flat else tiles).float()
        if self._flat:
            logits = logits.unsqueeze(2)
        if bool(torch.isfinite(logits.sum())):
            return logits
        if self._mixed_precision:
            logger.warning("The network overflowed in half precision; going on in full precision.")
            self._mixed_precision = False
            return torch.cat([self._run(network, tile) for tile in tiles.split(1)])
        raise NumericalError(
            "The network answered with NaN or infinite values. Check that the image has the intensities that "
            "the model was trained for; if it has, the model's weights are at fault."
        )
