"""The structures of a model, with names, colours and coded meanings.

A label is a value of the labelmap. A region is a set of labels: regions may overlap, labels cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BundleFormatError, OptionError
from ..system.json_reading import Fields

# The names of the terminology and of the anatomic list in which Slicer looks up codes.
TERMINOLOGY_CONTEXT = "Segmentation category and type - DICOM master list"
ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"

MAX_LABEL = 65535  # labelmaps are at most 16 bits wide

_CODE_FORM = r"[^~^]+"  # these two characters separate the parts of Slicer's entry


@dataclass(frozen=True)
class Code:
    """A coded concept.

    Attributes:
        value: code in its scheme, such as "78961009".
        scheme: coding scheme designator of DICOM; "SCT" is SNOMED CT.
        meaning: the concept in words, such as "Spleen".
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Terminology:
    """The coded meaning of a segment, as in DICOM segmentations.

    Attributes:
        category: such as Anatomical Structure.
        type: such as Kidney.
        type_modifier: such as Right.
        region: anatomic region in which a lesion lies.
        region_modifier: such as Left, of the region.
    """

    category: Code
    type: Code
    type_modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    def entry(self) -> str:
        """The string that Slicer stores as a segment's terminology entry (`SerializeTerminologyEntry`)."""
        codes = (self.category, self.type, self.type_modifier, self.region, self.region_modifier)
        category, kind, modifier, region, region_modifier = (
            f"{code.scheme}^{code.value}^{code.meaning}" if code else "^^" for code in codes
        )
        parts = (TERMINOLOGY_CONTEXT, category, kind, modifier, ANATOMIC_CONTEXT, region, region_modifier)
        return "~".join(parts)

    @classmethod
    def of_entry(cls, entry: str) -> Terminology | None:
        """The codes in such a string; None if category or type is missing."""
        parts = entry.split("~")
        if len(parts) != 7:
            return None
        _context, category, kind, modifier, _anatomic, region, region_modifier = map(_code_of, parts)
        if category is None or kind is None:
            return None
        return cls(category, kind, modifier, region, region_modifier)


@dataclass(frozen=True)
class Label:
    """One structure that a model finds.

    Attributes:
        value: voxel value in the labelmap; the background is 0 and is not a label.
        name: name of the segment.
        color: red, green and blue, 0 to 255.
        terminology: coded meaning, if known.
        region: only in descriptions by the first versions, see `regions.from_labels`.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: Terminology | None = None
    region: tuple[int, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> Label:
        """A label as `model.json` and `catalog.json` write it."""
        label = cls(
            fields.integer("value", 1, MAX_LABEL),
            *_read_look(fields),
            region=fields.integers("region", 1, MAX_LABEL, default=()),
        )
        fields.finish()
        return label

    @classmethod
    def from_json(cls, data: Any) -> Label:
        """The inverse of `to_json`. Raises `BundleFormatError`."""
        return cls.read(Fields(data, "label", BundleFormatError))

    def to_json(self) -> dict[str, Any]:
        """The form that `read` takes."""
        data = {"value": self.value, **_look(self)}
        return {**data, "region": list(self.region)} if self.region else data


@dataclass(frozen=True)
class Region:
    """A set of labels that has a name of its own, such as the whole tumour.

    Attributes:
        name: of the segment.
        labels: the label values that belong to it, perhaps also some that the model never gives.
        color: red, green and blue, 0 to 255.
        terminology: coded meaning, if known.
    """

    name: str
    labels: tuple[int, ...]
    color: tuple[int, int, int]
    terminology: Terminology | None = None

    @classmethod
    def read(cls, fields: Fields) -> Region:
        """A region as `model.json` and `catalog.json` write it."""
        labels = fields.integers("labels", 1, MAX_LABEL)
        if not labels or len(set(labels)) < len(labels):
            raise fields.refuse("labels", labels, "a list of at least one label value, each once")
        name, color, terminology = _read_look(fields)
        fields.finish()
        return cls(name, labels, color, terminology)

    @classmethod
    def from_json(cls, data: Any) -> Region:
        """The inverse of `to_json`. Raises `BundleFormatError`."""
        return cls.read(Fields(data, "region", BundleFormatError))

    def to_json(self) -> dict[str, Any]:
        """The form that `read` takes."""
        return {"labels": list(self.labels), **_look(self)}


def _code_of(part: str) -> Code | None:
    """The code in "scheme^value^meaning"; None if one of the three is missing."""
    scheme, _, rest = part.partition("^")
    value, _, meaning = rest.partition("^")
    return Code(value, scheme, meaning) if scheme and value and meaning else None


def choose_labels(
    labels: Sequence[Label], structures: Sequence[str | int], regions: Sequence[Region] = ()
) -> tuple[Label, ...]:
    """The labels with these names or values, in the order of `labels`; for a region's name all of its labels.

    Raises `OptionError` for no structures or an unknown one.
    """
    known: dict[str | int, set[int]] = {region.name: set(region.labels) for region in regions}
    known |= {key: {label.value} for label in labels for key in (label.value, label.name)}
    unknown = [structure for structure in structures if structure not in known]
    if unknown or not structures:
        wrong = (
            f"There is no structure {', '.join(map(repr, unknown))}" if unknown else "No structure was chosen"
        )
        names = [*(region.name for region in regions), *(f"{label.name} ({label.value})" for label in labels)]
        raise OptionError(f"{wrong}: choose at least one of {', '.join(names)}.")
    chosen = set().union(*(known[structure] for structure in structures))
    return tuple(label for label in labels if label.value in chosen)


def choose_structures(
    labels: tuple[Label, ...], structures: Sequence[str | int] | None, regions: tuple[Region, ...] = ()
) -> tuple[tuple[Label, ...], tuple[Region, ...]]:
    """The labels of `choose_labels` and the regions that are complete with them; all for None.

    The rest of a region whose labels are not all chosen must not bear the region's name.
    """
    if structures is None:
        return labels, regions
    chosen = choose_labels(labels, structures, regions)
    values = {label.value for label in chosen}
    left_out = {label.value for label in labels} - values
    return chosen, tuple(region for region in regions if not left_out & set(region.labels))


def _look(structure: Label | Region) -> dict[str, Any]:
    data: dict[str, Any] = {"name": structure.name, "color": list(structure.color)}
    if structure.terminology:
        codes = vars(structure.terminology).items()
        data["terminology"] = {role: dict(vars(code)) for role, code in codes if code}
    return data


def _read_look(fields: Fields) -> tuple[str, tuple[int, int, int], Terminology | None]:
    """Name, colour and coded meaning."""
    red, green, blue = fields.integers("color", 0, 255, length=3)
    terminology = _read_terminology(fields.fields("terminology")) if fields.has("terminology") else None
    return fields.text("name"), (red, green, blue), terminology


def _read_terminology(fields: Fields) -> Terminology:
    optional = ("type_modifier", "region", "region_modifier")
    terminology = Terminology(
        category=_read_code(fields.fields("category")),
        type=_read_code(fields.fields("type")),
        **{role: _read_code(fields.fields(role)) for role in optional if fields.has(role)},
    )
    fields.finish()
    return terminology


def _read_code(fields: Fields) -> Code:
    code = Code(
        value=fields.text("value", pattern=_CODE_FORM),
        scheme=fields.text("scheme", pattern=_CODE_FORM),
        meaning=fields.text("meaning", pattern=_CODE_FORM),
    )
    fields.finish()
    return code
