"""The labels of a structure that was found on both sides of the body.

Their values differ from those of the model, so that no value ever means both "of one side" and "of an unknown
side": a model with the labels 1 and 2 gives 3 and 4 on the left, 5 and 6 on the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .labels import Code, Label, Region, Terminology
from .location import SIDES

LATERALITY = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}


ASYMMETRY = "asymmetry_percent"  # in a provenance: left - right, in percent of the mean of both volumes


def asymmetry_in(known: Mapping[str, str]) -> float | None:
    """The asymmetry in a provenance; None for a result without sides."""
    try:
        return float(known[ASYMMETRY])
    except (KeyError, ValueError):  # ValueError: changed by hand
        return None


def value_offset(labels: Sequence[Label], side: str) -> int:
    """The difference between the values of this side and those of the model."""
    return max(label.value for label in labels) * (SIDES.index(side) + 1)


def sided_labels(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels of both sides, left ones first, with the side in value, name and code."""
    return tuple(
        replace(
            label,
            value=label.value + value_offset(labels, side),
            name=f"{side} {label.name}",
            terminology=_with_side(label.terminology, side),
        )
        for side in SIDES
        for label in labels
    )


def sided_regions(regions: Sequence[Region], labels: Sequence[Label]) -> tuple[Region, ...]:
    """The regions of both sides, left ones first; `labels` are those of the model."""
    return tuple(
        replace(
            region,
            labels=tuple(value + value_offset(labels, side) for value in region.labels),
            name=f"{side} {region.name}",
            terminology=_with_side(region.terminology, side),
        )
        for side in SIDES
        for region in regions
    )


def sided_structures(
    structures: Sequence[str | int], labels: Sequence[Label], regions: Sequence[Region] = ()
) -> list[str | int]:
    """The chosen structures of the model as those of both sides; structures of one side stay as they are.

    `labels` and `regions` are those of both sides.
    """
    names = {label.name for label in labels} | {region.name for region in regions}
    largest = max(label.value for label in labels) // (len(SIDES) + 1)  # of the model
    sided: list[str | int] = []
    for structure in structures:
        if isinstance(structure, str) and structure not in names:
            both = [f"{side} {structure}" for side in SIDES]
            sided += both if names.issuperset(both) else [structure]
        elif isinstance(structure, int) and structure <= largest:
            sided += [structure + largest * (number + 1) for number in range(len(SIDES))]
        else:
            sided.append(structure)
    return sided


def has_sides(provenance: Mapping[str, str]) -> bool:
    """Whether a result has the labels of both sides, found in boxes."""
    return box_word(SIDES[0]) in provenance


def structures_of_result(
    labels: tuple[Label, ...], regions: tuple[Region, ...], provenance: Mapping[str, str]
) -> tuple[tuple[Label, ...], tuple[Region, ...]]:
    """The labels and regions of a result with this provenance; `labels` and `regions` are the model's."""
    if not has_sides(provenance):
        return labels, regions
    return sided_labels(labels), sided_regions(regions, labels)


def box_word(side: str) -> str:
    """The key of a side's box in the provenance: lower and upper corner, mm RAS."""
    return f"box_{side}_ras_mm"


def _with_side(terminology: Terminology | None, side: str) -> Terminology | None:
    """The codes with the side as modifier: of the type if that has none, else of the region.

    A segment has one modifier for its type, which may be taken ("Anterior"). The structure then is its own
    anatomic region too, whose modifier is the side.
    """
    if terminology is None:
        return None
    code = LATERALITY[side]
    if terminology.region is not None:
        return replace(terminology, region_modifier=code)
    if terminology.type_modifier is None:
        return replace(terminology, type_modifier=code)
    return replace(terminology, region=terminology.type, region_modifier=code)
