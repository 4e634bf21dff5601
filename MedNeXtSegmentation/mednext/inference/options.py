"""The options of a run: the one home of their names, defaults, checks and words.

The engine, the worker's protocol, Slicer's logic, both commands and the provenance derive from `Options`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any

from ..errors import OptionError
from ..images.geometry import Roi
from ..model.description import Model
from ..model.labels import choose_structures
from ..segmentation.provenance import model_words
from ..segmentation.result import names_of
from ..system.devices import PRECISIONS, check_device_name, check_threads

MIN_STEP = 0.1  # as in model.json; the number of tiles grows with its third power


@dataclass(frozen=True)
class Options:
    """How to segment.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        folds: the networks to average; all by default.
        mirroring: average over mirrored copies too, along the axes that the training mirrored: slower, a
            little more accurate.
        roi: box in mm RAS that limits the work. The networks see half a patch around it; outside of it there
            are no labels. Within it they may differ a little from a run without it, since the tiles lie
            elsewhere, and the clean-up of components sees only the box. A model that was trained on crops
            (`field_of_view`) gets the box as if it were the whole image.
        uncertainty: also compute the predictive entropy over folds and mirrored copies, 0 to 1.
        step: distance of tiles as a fraction of the patch, 0.1 to 1; the model's by default.
        precision: "float32", or "bfloat16": faster on processors that have it, with labels that differ a
            little (docs/performance.md); on others it changes nothing.
        threads: on the CPU, never more than there are cores; None leaves it to torch.
        insist: segment also images that look certainly wrong; the result then carries a warning.

    Raises:
        OptionError: a value out of its range, or of the wrong type.
    """

    device: str = "auto"
    folds: Sequence[int] | None = None
    mirroring: bool = True
    roi: Roi | None = None
    uncertainty: bool = False
    step: float | None = None
    precision: str = "float32"
    threads: int | None = None
    insist: bool = False

    def __post_init__(self) -> None:
        check_device_name(self.device)
        if self.folds is not None:
            self._set("folds", _checked_folds(self.folds))
        for name in ("mirroring", "uncertainty", "insist"):
            if getattr(self, name) not in (True, False):
                raise OptionError(f"{name} must be True or False, not {getattr(self, name)!r}.")
            self._set(name, bool(getattr(self, name)))  # of numpy's, too
        if self.roi is not None and not isinstance(self.roi, Roi):
            raise OptionError(
                "The region must be a Roi, such as Roi((-40, -30, -35), (40, 10, 15)) in mm RAS, "
                f"not {self.roi!r}."
            )
        if self.step is not None:
            if not (isinstance(self.step, Real) and MIN_STEP <= self.step <= 1):
                raise OptionError(
                    f"The step between tiles must be {MIN_STEP} to 1 of a patch, not {self.step}."
                )
            self._set("step", float(self.step))
        if self.precision not in PRECISIONS:
            raise OptionError(
                f"There is no precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}."
            )
        if self.threads is not None:
            check_threads(self.threads)
            self._set("threads", int(self.threads))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        return {each.name: asdict(self)[each.name] for each in fields(Options)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """The inverse of `to_json`. Raises TypeError for unknown names, KeyError, and `OptionError`."""
        roi = data["roi"]
        return cls(**{**data, "roi": roi and Roi(tuple(roi["lower"]), tuple(roi["upper"]))})

    def folds_of(self, model: Model) -> tuple[int, ...]:
        """The folds that a run averages."""
        return tuple(fold.index for fold in model.folds) if self.folds is None else tuple(self.folds)

    def step_of(self, model: Model) -> float:
        """The distance of tiles as a fraction of the patch."""
        return model.step if self.step is None else self.step

    def mirror_axes_of(self, model: Model) -> tuple[int, ...]:
        """The axes of `(Z, Y, X)` that a run mirrors."""
        return model.mirror_axes if self.mirroring else ()

    def recipe(self, model: Model) -> dict[str, str]:
        """The words of a result's provenance that decide its labels: model, weights and options.

        Neither the device nor the time is among them: two results with the same recipe and the same images
        are the same up to the device's rounding.
        """
        folds, roi = self.folds_of(model), self.roi
        return {
            **model_words(model, folds),
            "mirror_axes": " ".join(map(str, self.mirror_axes_of(model))),
            "step": f"{self.step_of(model):g}",
            "roi_ras_mm": " ".join(f"{value:g}" for value in (*roi.lower, *roi.upper)) if roi else "",
            "precision": self.precision,
        }

    def recipe_with(self, model: Model, structures: Sequence[str | int] | None) -> dict[str, str]:
        """The recipe of a result that keeps these structures alone; "" stands for all of them.

        Raises the errors of `choose_labels`.
        """
        labels, _ = choose_structures(model.labels, structures, model.regions)
        return {**self.recipe(model), "structures": "" if structures is None else names_of(labels)}


def _checked_folds(folds: Sequence[int]) -> tuple[int, ...]:
    listed = isinstance(folds, Iterable) and not isinstance(folds, str)
    numbers: list[Any] = list(folds) if listed else [folds]
    if not all(isinstance(fold, Integral) and not isinstance(fold, bool) for fold in numbers):
        raise OptionError(f"The folds must be numbers such as (0, 1), not {folds!r}.")
    if not numbers or len(set(numbers)) < len(numbers):
        raise OptionError(f"The folds must be at least one, and each once; not {[int(n) for n in numbers]}.")
    return tuple(int(fold) for fold in numbers)
