"""The report of an import: the facts that were understood, the source of each, and the open questions.

A reader takes notes while it reads; the rows of the report are made of these and of the model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import CheckpointError
from ..model.description import Channel, Model, NetworkSpec
from ..network.patch_sides import SIDE_DIVISOR

logger = logging.getLogger(__name__)

PIPELINES = {"nnunet_v1": "nnU-Net v1", "nnunet_v2": "nnU-Net v2"}
_NORMALIZATIONS = {
    "zscore": "z-score of the whole image",
    "zscore_masked": "z-score of the part that is not zero",
    "rescale": "rescaled to 0 to 1",
    "none": "left as it is",
}


@dataclass(frozen=True)
class Question:
    """A fact that only the user can tell.

    Attributes:
        option: name of the `ImportOptions` field that tells it.
        text: why it is asked.
        choices: the possible answers, where there are a few.
    """

    option: str
    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One fact of the report: its name, its value in words, and where it comes from."""

    fact: str
    value: str
    source: str = ""


@dataclass(frozen=True)
class ImportReport:
    """All that an import understood.

    Attributes:
        rows: the facts.
        remarks: sentences on assumptions, changes and omissions.
        questions: the open ones; none after an import.
    """

    rows: tuple[Row, ...]
    remarks: tuple[str, ...]
    questions: tuple[Question, ...]

    def to_json(self) -> dict[str, Any]:
        """The report for other programs."""
        return {
            "facts": [asdict(row) for row in self.rows],
            "remarks": list(self.remarks),
            "questions": [{**asdict(each), "choices": list(each.choices)} for each in self.questions],
        }

    def lines(self) -> list[str]:
        """The report for a terminal: a table, then the remarks and the questions."""
        names = max(len(row.fact) for row in self.rows)
        lines = [
            f"  {row.fact:<{names}}  {row.value}{f'   [{row.source}]' if row.source else ''}"
            for row in self.rows
        ]
        lines += [f"Remark: {remark}" for remark in self.remarks]
        return lines + [f"Open: {each.text}" for each in self.questions]


@dataclass
class ImportNotes:
    """The remarks and questions of a reader of checkpoints.

    Attributes:
        asking: collect questions, and continue with placeholders, instead of raising them as errors.
        sources: where a fact comes from, by the name of the fact's field in `Model`, such as "orientation".
        remarks: see `ImportReport`.
        questions: those that were asked, by the option.
        files: the file of each fold's weights, in words.
    """

    asking: bool = False
    sources: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    questions: dict[str, Question] = field(default_factory=dict)
    files: dict[int, str] = field(default_factory=dict)

    def ask(self, option: str, error: CheckpointError, choices: Sequence[str] = ()) -> None:
        """Note a question; the caller continues with a placeholder, and no model is written.

        Raises:
            CheckpointError: the given one, where questions are not collected.
        """
        if not self.asking:
            raise error
        self.questions[option] = Question(option, str(error), tuple(choices))

    def remark(self, sentence: str) -> None:
        """Note something that was assumed, changed or left out; also in the log."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)
            logger.info("%s", sentence)


def whole_patch(patch: Sequence[int], dimensions: int, notes: ImportNotes) -> tuple[int, int, int]:
    """A patch that the network can take: sides that are not divisible by 16 are rounded up, with a remark."""
    z, y, x = (-(-side // SIDE_DIVISOR) * SIDE_DIVISOR for side in patch)
    whole = (z, y, x) if dimensions == 3 else (patch[0], y, x)
    if whole != tuple(patch):
        notes.remark(
            f"The patch {_numbers(patch)} was rounded up to {_numbers(whole)}: MedNeXt needs sides that are "
            f"divisible by {SIDE_DIVISOR}."
        )
    return whole


def report_of(model: Model, notes: ImportNotes) -> ImportReport:
    """The report on a model, which has placeholders for open questions, and the notes taken about it."""
    rows = [
        Row("network", network_in_words(model.network)),
        Row("weights", ", ".join(f"fold {fold}: {file}" for fold, file in notes.files.items())),
        Row("channels", ", ".join(f"{n} {c.name} ({c.modality})" for n, c in enumerate(model.channels))),
        Row("labels", ", ".join(f"{label.value} {label.name}" for label in model.labels)),
        Row("regions", ", ".join(f"{each.name} = {list(each.labels)}" for each in model.regions)),
        Row("output", _output(model)),
        Row("orientation", model.orientation),
        Row("mirroring", "axes " + ", ".join(map(str, model.mirror_axes)) if model.mirror_axes else "none"),
        Row("normalisation", "; ".join(f"{c.name}: {_normalization(c)}" for c in model.channels)),
        Row("spacing", f"{_numbers(model.spacing)} mm (z, y, x)" if model.spacing else "left as it is"),
        Row("patch", f"{_numbers(model.patch)} voxels (z, y, x)"),
        Row("pipeline", PIPELINES[model.pipeline]),
        Row("clean-up", ", ".join(f"largest component of label {value}" for value in model.keep_largest)),
    ]
    named = {"mirroring": "mirror_axes", "normalisation": "normalization"}
    found = []
    for row in rows:
        key = named.get(row.fact, row.fact)
        if key in notes.questions:
            found.append(Row(row.fact, "?", "not known yet"))
        elif row.value:
            found.append(row if row.source else replace(row, source=notes.sources.get(key, "")))
    return ImportReport(tuple(found), tuple(notes.remarks), tuple(notes.questions.values()))


def network_in_words(network: NetworkSpec) -> str:
    """A network's size, kernel and differences from the paper, such as "MedNeXt-L, kernel 5"."""
    size = f"MedNeXt-{network.variant}" if network.variant else "MedNeXt"
    words = [size, f"kernel {network.kernel_size}"]
    words += ["two-dimensional"] if network.dimensions == 2 else []
    if not network.variant:
        words.append(f"blocks {_joined(network.blocks)}, expansion {_joined(network.expansion)}")
        words.append(f"{network.channels} channels in the first stage")
    words += [f"down blocks expand by {_joined(network.down_expansion)}"] if network.down_expansion else []
    words += ["up blocks with output padding"] if network.output_padding else []
    words += [f"global response normalisation by the {network.grn_denominator}"] if network.grn else []
    words += [f"resampling {network.resampling}"] if network.resampling != "residual" else []
    words += [f"{network.in_channels} in, {network.num_classes} out"]
    return ", ".join(words)


def _output(model: Model) -> str:
    if model.output == "softmax":
        return "one label per voxel (softmax)"
    return f"overlapping regions, painted in the order {_joined(model.regions_class_order)}"


def _normalization(channel: Channel) -> str:
    if channel.normalization != "ct":
        return _NORMALIZATIONS[channel.normalization]
    window = f"clipped to {channel.lower:g} to {channel.upper:g}"
    return f"{window}, minus {channel.mean:g}, divided by {channel.std:g}"


def _joined(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def _numbers(numbers: Sequence[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)
