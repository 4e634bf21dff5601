"""The contents of `model.json`: all facts about a model that inference needs, and those for people.

The schema `Resources/Models/model.schema.json` describes the same for other programs. Reading needs no torch.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import BundleFormatError, OptionError
from ..system.file_names import check_relative
from ..system.json_reading import Fields
from .labels import Label, Region
from .location import Location
from .regions import beyond_painting, from_labels

if TYPE_CHECKING:
    from ..network.mednext import MedNeXt

FORMAT_VERSION = 1

Pipeline = Literal["nnunet_v1", "nnunet_v2"]
Output = Literal["softmax", "regions"]
Skull = Literal["", "removed", "present"]

PIPELINES = ("nnunet_v1", "nnunet_v2")
OUTPUTS = ("softmax", "regions")
SKULLS: tuple[Skull, ...] = ("removed", "present")
VARIANT_NAMES = ("S", "B", "M", "L", "v2-B", "v2-W")
RESAMPLINGS = ("residual", "bottleneck", "standard")
NORMALIZATIONS = ("ct", "zscore", "zscore_masked", "rescale", "none")

NAME_FORM = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?"
FOLD_FILE_FORM = r"fold_[A-Za-z0-9]{1,16}\.safetensors"
ORIENTATION_FORM = r"(?:[RL][AP][SI]|[RL][SI][AP]|[AP][RL][SI]|[AP][SI][RL]|[SI][RL][AP]|[SI][AP][RL])"

# Of the network, with their usual values; older engines do not know them.
_NEWER_FIELDS = {
    "grn_first_down": False,
    "grn_denominator": "mean",
    "down_expansion": None,
    "output_padding": False,
}

_MAX_CHANNELS = 64
_MAX_CLASSES = 1024
_MAX_HU = 1e6


@dataclass(frozen=True)
class Channel:
    """One input image of a model.

    Attributes:
        name: such as "T1" or "CT".
        modality: DICOM's code: "CT", "MR", "PT", ...
        normalization: "ct" (clip to [lower, upper], subtract mean, divide by std), "zscore" over the volume,
            "zscore_masked" over its non-zero part, "rescale" to [0, 1], or "none".
        mean, std, lower, upper: intensities of the training set's foreground (HU in CT); only for "ct".
    """

    name: str
    modality: str
    normalization: str
    mean: float | None = None
    std: float | None = None
    lower: float | None = None
    upper: float | None = None

    @classmethod
    def read(cls, fields: Fields) -> Channel:
        """A channel as `model.json` writes it."""
        name = fields.text("name")
        modality = fields.text("modality", pattern=r"[A-Z]{2,16}")
        normalization = fields.text("normalization", choices=NORMALIZATIONS)
        if normalization != "ct":
            fields.finish()
            return cls(name, modality, normalization)
        lower, upper = (fields.number(key, -_MAX_HU, _MAX_HU) for key in ("lower", "upper"))
        if lower >= upper:
            raise fields.refuse("upper", upper, f"above 'lower', {lower:g}")
        mean = fields.number("mean", -_MAX_HU, _MAX_HU)
        std = fields.number("std", 1e-6, _MAX_HU)
        fields.finish()
        return cls(name, modality, normalization, mean, std, lower, upper)


@dataclass(frozen=True)
class NetworkSpec:
    """How to build a model's network; the arguments are those of `network.MedNeXt`.

    Attributes:
        variant: name of one of the papers' sizes, see `network.VARIANTS`.
        num_classes: output channels of the head: labels and background, or regions.
        down_expansion: of the four down blocks, where it is not that of the stages behind them.
        deep_supervision: True if there are weights of five heads; always False in bundles.
    """

    variant: str | None
    in_channels: int
    num_classes: int
    kernel_size: int
    expansion: tuple[int, ...]
    blocks: tuple[int, ...]
    channels: int = 32
    dimensions: int = 3
    residual: bool = True
    resampling: str = "residual"
    grn: bool = False
    grn_first_down: bool = False
    grn_denominator: str = "mean"
    down_expansion: tuple[int, ...] | None = None
    output_padding: bool = False
    deep_supervision: bool = False

    def build(self) -> MedNeXt:
        """The network, with fresh weights on torch's default device.

        Raises:
            BundleFormatError: `variant` is another size than that of the ratios and block counts.
        """
        from ..network.mednext import VARIANTS, MedNeXt, Variant

        size = VARIANTS.get(self.variant) if self.variant else None
        if size and size != Variant(self.expansion, self.blocks, self.channels, self.grn_first_down):
            raise BundleFormatError(
                f"network: the variant is {self.variant!r}, which is {size}, but expansion, blocks, channels "
                f"and grn_first_down are {self.expansion}, {self.blocks}, {self.channels} and "
                f"{self.grn_first_down}. Correct one of them."
            )
        if size and (self.down_expansion or self.output_padding):
            raise BundleFormatError(
                f"network: the variant is {self.variant!r}, a size of the paper, but down_expansion and "
                f"output_padding are {self.down_expansion} and {self.output_padding}, as in other "
                "programs. Set the variant to null."
            )
        arguments = dict(vars(self))
        del arguments["variant"]
        return MedNeXt(**arguments)

    @classmethod
    def read(cls, fields: Fields) -> NetworkSpec:
        """A network as `model.json` writes it."""
        spec = cls(
            variant=fields.text("variant", choices=VARIANT_NAMES) if fields.has("variant") else None,
            in_channels=fields.integer("in_channels", 1, _MAX_CHANNELS),
            num_classes=fields.integer("num_classes", 1, _MAX_CLASSES),
            kernel_size=fields.integer("kernel_size", 3, 7),
            expansion=fields.integers("expansion", 1, 32, length=9),
            blocks=fields.integers("blocks", 1, 32, length=9),
            channels=fields.integer("channels", 1, 256, 32),
            dimensions=fields.integer("dimensions", 2, 3, 3),
            residual=fields.flag("residual", True),
            resampling=fields.text("resampling", "residual", choices=RESAMPLINGS),
            grn=fields.flag("grn", False),
            grn_first_down=fields.flag("grn_first_down", False),
            grn_denominator=fields.text("grn_denominator", "mean", choices=("mean", "sum")),
            down_expansion=fields.integers("down_expansion", 1, 32, length=4)
            if fields.has("down_expansion")
            else None,
            output_padding=fields.flag("output_padding", False),
        )
        fields.finish()
        if spec.kernel_size % 2 == 0:
            raise fields.refuse("kernel_size", spec.kernel_size, "3, 5 or 7")
        if spec.grn_first_down and not spec.grn:
            raise fields.refuse("grn_first_down", True, "false without grn")
        return spec


@dataclass(frozen=True)
class Fold:
    """Weights of one of the networks that a model averages.

    Attributes:
        index: number of the cross-validation fold.
        file: file name in the bundle's folder.
        sha256: hexadecimal SHA-256 of that file.
    """

    index: int
    file: str
    sha256: str

    @classmethod
    def read(cls, fields: Fields) -> Fold:
        """A fold as `model.json` writes it."""
        index = fields.integer("index", 0, 999)
        file = fields.text("file")
        check_relative(file)
        if not re.fullmatch(FOLD_FILE_FORM, file):
            raise fields.refuse("file", file, "a file name such as fold_0.safetensors")
        sha256 = fields.text("sha256", pattern=r"[0-9a-f]{64}")
        fields.finish()
        return cls(index, file, sha256)


@dataclass(frozen=True)
class Model:
    """The contents of `model.json`. Lists along axes are in array order, `(z, y, x)`.

    Attributes:
        name: identifies the model; also the name of its folder.
        version: of these weights, such as "1.0.0".
        task: name of the task in the catalog, or of the user's own.
        title, description: for people.
        network: how to build the network.
        channels: the input images, in this order.
        labels: the values that a result may have; the background, value 0, is not among them.
        orientation: directions of the axes i, j, k of the training images, such as "RAS" (nibabel's meaning).
        spacing: mm that images are resampled to; None leaves them as they are.
        patch: voxels of one tile.
        pipeline: the conventions of preprocessing and averaging that the weights were trained for.
        output: "softmax" over background and labels, or one sigmoid per region ("regions").
        mirror_axes: spatial axes (0 = z, 1 = y, 2 = x) along which the training mirrored.
        regions: sets of labels that have a name of their own; with the output "regions" those of the output
            channels, in their order.
        regions_class_order: for each region the label that is painted for it, later ones over earlier ones.
        keep_largest: label values of which only the largest component is kept; of a model of regions, the
            values of `regions_class_order` whose regions are meant.
        step: distance of tiles as a fraction of the patch.
        field_of_view: mm along (z, y, x) of the largest training image, if known; a network that was trained
            on small crops errs in larger images.
        skull: "removed" if the training images show brains alone, "present" if they show heads; "" if unknown
            or of no concern.
        location: where the structure lies in the body, for a model of crops that finds it in a whole image.
        folds: the weights; predictions of all folds are averaged.
        licence, citation, training_data: of the weights and of the data that they were trained on.
        accuracy: the measured accuracy; "source" tells where and how.
    """

    name: str
    version: str
    task: str
    title: str
    description: str
    network: NetworkSpec
    channels: tuple[Channel, ...]
    labels: tuple[Label, ...]
    orientation: str
    spacing: tuple[float, float, float] | None
    patch: tuple[int, int, int]
    pipeline: Pipeline
    output: Output
    mirror_axes: tuple[int, ...]
    regions_class_order: tuple[int, ...] = ()
    keep_largest: tuple[int, ...] = ()
    step: float = 0.5
    field_of_view: tuple[float, float, float] | None = None
    folds: tuple[Fold, ...] = ()
    licence: str = ""
    citation: str = ""
    training_data: str = ""
    accuracy: dict[str, Any] | None = None
    regions: tuple[Region, ...] = ()
    skull: Skull = ""
    location: Location | None = None
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        described = {label.value for label in self.labels if label.region}
        if self.output != "regions" or self.regions or described != set(self.regions_class_order):
            return
        labels, regions = from_labels(self.labels, self.regions_class_order)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "regions", regions)

    def fold(self, index: int) -> Fold:
        """The fold of this number.

        Raises:
            OptionError: the model has no such fold.
        """
        for fold in self.folds:
            if fold.index == index:
                return fold
        known = ", ".join(str(fold.index) for fold in self.folds)
        raise OptionError(f"Model {self.name!r} has no fold {index}: choose among {known}.")

    @property
    def beyond_painting(self) -> dict[frozenset[int], int]:
        """The right label of each combination of output channels for which painting gives a wrong one."""
        if self.output == "softmax" or not self.regions:
            return {}
        return beyond_painting(self.regions, self.regions_class_order)

    @property
    def kept_largest(self) -> tuple[int | tuple[int, ...], ...]:
        """The labels, and the label values of the regions, of which only the largest component is kept."""
        regions = dict(zip(self.regions_class_order, self.regions, strict=False))
        return tuple(regions[value].labels if value in regions else value for value in self.keep_largest)

    def to_json(self) -> dict[str, Any]:
        """The form that `parse_model` takes."""
        data = {"format_version": self.format_version, **asdict(self)}
        del data["network"]["deep_supervision"], data["regions"]
        for name, usual in _NEWER_FIELDS.items():
            if data["network"][name] == usual:
                del data["network"][name]
        data["channels"] = [
            {key: value for key, value in channel.items() if value is not None}
            for channel in data["channels"]
        ]
        data["labels"] = [label.to_json() for label in self.labels]
        data["regions"] = [region.to_json() for region in self.regions]
        for name in ("skull", "location", "regions"):  # older engines do not know them
            if not data[name]:
                del data[name]
        return json.loads(json.dumps(data))  # tuples become lists
