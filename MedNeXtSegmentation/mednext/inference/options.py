"""The options of a run: the one home of their names, defaults, checks and words.

The engine, the worker's protocol, Slicer's logic, both commands and the provenance derive from `Options`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from ..errors import OptionError
from ..images.geometry import Roi
from ..model.description import Model
from ..model.labels import choose_structures
from ..model.location import SIDES
from ..segmentation.provenance import model_words
from ..segmentation.result import names_of
from ..system.devices import PRECISIONS, check_device_name, check_threads
from ..system.json_values import fields_from_json, to_json

LOCATE = ("auto", "none")
MIN_STEP = 0.1  # as in model.json; the number of tiles grows with its third power


@dataclass(frozen=True)
class Quality:
    """The values of the options that trade time for accuracy, where a run does not name them itself.

    Attributes:
        mirroring, precision: as in `Options`.
        step: as in `Options`; None for the model's.
        one_fold: only the model's first network; else all of them.
        dice: mean of the shipped model on the 44 validation cases of its fold (docs/hippocampus.md).
        time: duration there, as a multiple of the standard's.
    """

    mirroring: bool
    step: float | None
    one_fold: bool
    precision: str
    dice: float
    time: float


STANDARD = "standard"
CUSTOM = "custom"  # other values than those of any quality

QUALITIES = {
    "fast": Quality(False, 0.75, True, "bfloat16", dice=0.8964, time=0.084),
    STANDARD: Quality(True, None, False, "float32", dice=0.8973, time=1.0),
    "best": Quality(True, 0.25, False, "float32", dice=0.8914, time=1.05),
}


@dataclass(frozen=True)
class Options:
    """How to segment.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        folds: the networks to average; None for those of the quality.
        mirroring: average over mirrored copies too, along the axes that the training mirrored: slower, a
            little more accurate. None for that of the quality.
        roi: box in mm RAS that limits the work. The networks see half a patch around it; outside of it there
            are no labels. Within it they may differ a little from a run without it, since the tiles lie
            elsewhere, and the clean-up of components sees only the box. A model that was trained on crops
            (`field_of_view`) gets the box as if it were the whole image.
        uncertainty: also compute the predictive entropy over folds and mirrored copies, 0 to 1.
        step: distance of tiles as a fraction of the patch, 0.1 to 1; None for that of the quality.
        precision: "float32", or "bfloat16": faster on processors that have it, with labels that differ a
            little (docs/performance.md); on others it changes nothing. None for that of the quality.
        threads: on the CPU, never more than there are cores; None leaves it to torch.
        insist: segment also images that look certainly wrong; the result then carries a warning.
        intensities: also measure mean and standard deviation of the images within each structure.
        quality: one of `QUALITIES`, for folds, mirroring, step and precision that are None.
        locate: "auto" lets a model of crops find its structure in a whole image (`Model.location`), unless a
            region is given; "none" takes the image as it is.
        boxes: the boxes of "left" and "right" in mm RAS, instead of finding them.

    Raises:
        OptionError: a value out of its range, or of the wrong type.
    """

    device: str = "auto"
    folds: Sequence[int] | None = None
    mirroring: bool | None = None
    roi: Roi | None = None
    uncertainty: bool = False
    step: float | None = None
    precision: str | None = None
    threads: int | None = None
    insist: bool = False
    quality: str = STANDARD
    intensities: bool = False
    locate: str = "auto"
    boxes: Mapping[str, Roi] | None = None

    def __post_init__(self) -> None:
        check_device_name(self.device)
        if self.folds is not None:
            self._set("folds", _checked_folds(self.folds))
        for name in ("mirroring", "uncertainty", "insist", "intensities"):
            value = getattr(self, name)
            if value is None and name == "mirroring":
                continue
            if value not in (True, False):
                raise OptionError(f"{name} must be True or False, not {value!r}.")
            self._set(name, bool(value))  # of numpy's, too
        if self.roi is not None and not isinstance(self.roi, Roi):
            raise OptionError(
                "The region must be a Roi, such as Roi((-40, -30, -35), (40, 10, 15)) in mm RAS, "
                f"not {self.roi!r}."
            )
        if self.boxes is not None:
            self._set("boxes", _checked_boxes(self.boxes, self.roi))
        if self.step is not None:
            if not (isinstance(self.step, Real) and MIN_STEP <= self.step <= 1):
                raise OptionError(
                    f"The step between tiles must be {MIN_STEP} to 1 of a patch, not {self.step}."
                )
            self._set("step", float(self.step))
        if self.threads is not None:
            check_threads(self.threads)
            self._set("threads", int(self.threads))
        _check_choice("way to locate", self.locate, LOCATE)
        _check_choice("precision", self.precision, (*PRECISIONS, None))
        _check_choice("quality", self.quality, tuple(QUALITIES))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values."""
        return {each.name: to_json(getattr(self, each.name)) for each in fields(Options)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """The inverse of `to_json`. Raises ValueError for data of another form, and `OptionError`."""
        return fields_from_json(cls, data)

    @property
    def _default(self) -> Quality:
        return QUALITIES[self.quality]

    def folds_of(self, model: Model) -> tuple[int, ...]:
        """The folds that a run averages."""
        if self.folds is not None:
            return tuple(self.folds)
        folds = tuple(fold.index for fold in model.folds)
        return folds[:1] if self._default.one_fold else folds

    def step_of(self, model: Model) -> float:
        """The distance of tiles as a fraction of the patch."""
        step = self._default.step if self.step is None else self.step
        return model.step if step is None else step

    def mirror_axes_of(self, model: Model) -> tuple[int, ...]:
        """The axes of `(Z, Y, X)` that a run mirrors."""
        mirroring = self._default.mirroring if self.mirroring is None else self.mirroring
        return model.mirror_axes if mirroring else ()

    @property
    def precision_used(self) -> str:
        """The precision of a run."""
        return self._default.precision if self.precision is None else self.precision

    def quality_of(self, model: Model) -> str:
        """The quality that a run with this model has, whether it was asked for or its values were given one
        by one; `CUSTOM` for none."""
        own = self._trade(model)
        asked = [self.quality, *(name for name in QUALITIES if name != self.quality)]
        return next((name for name in asked if Options(quality=name)._trade(model) == own), CUSTOM)

    def _trade(self, model: Model) -> tuple[object, ...]:
        """The values that a quality sets."""
        return (
            self.folds_of(model),
            self.step_of(model),
            self.mirror_axes_of(model),
            self.precision_used,
        )

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
            "precision": self.precision_used,
            **self._locating(model),
        }

    def _locating(self, model: Model) -> dict[str, str]:
        """Whether the places are found or given; nothing for a model that finds none."""
        if model.location is None:
            return {}
        if self.boxes is None:
            return {"locate": self.locate}
        corners = [value for side in SIDES for value in (*self.boxes[side].lower, *self.boxes[side].upper)]
        return {"locate": "boxes " + " ".join(f"{value:g}" for value in corners)}

    def recipe_with(self, model: Model, structures: Sequence[str | int] | None) -> dict[str, str]:
        """The recipe of a result that keeps these structures alone; "" stands for all of them.

        Raises the errors of `choose_labels`.
        """
        labels, _ = choose_structures(model.labels, structures, model.regions)
        return {**self.recipe(model), "structures": "" if structures is None else names_of(labels)}


def _check_choice(kind: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        known = ", ".join(choice for choice in choices if choice)
        raise OptionError(f"There is no {kind} {value!r}: choose one of {known}.")


def _checked_boxes(boxes: Any, roi: Roi | None) -> dict[str, Roi]:
    if roi is not None:
        raise OptionError("A region and boxes of both sides were given: give one of them.")
    if not isinstance(boxes, Mapping) or set(boxes) != set(SIDES):
        raise OptionError(f"The boxes must be one for left and one for right, not {boxes!r}.")
    if not all(isinstance(box, Roi) for box in boxes.values()):
        raise OptionError(f"The boxes must be Rois in mm RAS, not {boxes!r}.")
    return {side: boxes[side] for side in SIDES}


def _checked_folds(folds: Sequence[int]) -> tuple[int, ...]:
    listed = isinstance(folds, Iterable) and not isinstance(folds, str)
    numbers: list[Any] = list(folds) if listed else [folds]
    if not all(isinstance(fold, Integral) and not isinstance(fold, bool) for fold in numbers):
        raise OptionError(f"The folds must be numbers such as (0, 1), not {folds!r}.")
    if not numbers or len(set(numbers)) < len(numbers):
        raise OptionError(f"The folds must be at least one, and each once; not {[int(n) for n in numbers]}.")
    return tuple(int(fold) for fold in numbers)
