"""MedNeXt: a U-shaped network of inverted-bottleneck ConvNeXt blocks, in two or three dimensions.

After Roy et al., "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation",
MICCAI 2023 (arXiv 2303.09975). Parameter names, shapes and numbers equal the reference implementation
(MIC-DKFZ/MedNeXt), so its checkpoints fit once their `dummy_tensor` is dropped.

This is the plain formulation, against which every faster one is timed and checked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import OptionError
from .blocks import CONVOLUTION, TRANSPOSED, DownBlock, GrnDenominator, MedNeXtBlock, OutBlock, UpBlock
from .patch_sides import check_patch

Resampling = Literal["residual", "bottleneck", "standard"]
Checkpointing = Literal["none", "expansion", "blocks"]

STEM_CHANNELS = 32


@dataclass(frozen=True)
class Variant:
    """Expansion ratios and block counts of the nine stages: encoder 0-3, bottleneck, decoder 3-0.

    Attributes:
        channels: width of the first stage.
        v2: MedNeXt-v2 (arXiv 2512.17774): global response normalisation in every block, without exception.
    """

    expansion: tuple[int, ...]
    blocks: tuple[int, ...]
    channels: int = STEM_CHANNELS
    v2: bool = False


VARIANTS: dict[str, Variant] = {
    "S": Variant((2, 2, 2, 2, 2, 2, 2, 2, 2), (2, 2, 2, 2, 2, 2, 2, 2, 2)),
    "B": Variant((2, 3, 4, 4, 4, 4, 4, 3, 2), (2, 2, 2, 2, 2, 2, 2, 2, 2)),
    "M": Variant((2, 3, 4, 4, 4, 4, 4, 3, 2), (3, 4, 4, 4, 4, 4, 4, 4, 3)),
    "L": Variant((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
    "v2-B": Variant((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3), v2=True),
    "v2-W": Variant((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3), channels=64, v2=True),
}

# The parts of each of the nine stages, for checkpointing: the block that resamples into it, and its own.
_PARTS = (
    ("enc_block_0",),
    *((f"down_{level}", f"enc_block_{level + 1}") for level in range(3)),
    ("down_3", "bottleneck", "out_4"),
    *((f"up_{level}", f"dec_block_{level}", f"out_{level}") for level in (3, 2, 1, 0)),
)


class MedNeXt(nn.Module):
    """The whole network: stem, four encoder stages, bottleneck, four decoder stages, heads.

    Use `MedNeXt.variant("S", ...)` for the paper's sizes.

    Args:
        in_channels: image channels.
        num_classes: output channels, background included.
        expansion: expansion ratio of each of the nine stages.
        blocks: number of blocks in each of the nine stages.
        kernel_size: 3, 5 or 7.
        deep_supervision: return logits at five scales instead of one.
        dimensions: 2 or 3.
        channels: width of the first stage; it doubles with each halving.
        residual: residual paths within the stages (the paper's ablation switches them off).
        resampling: "residual" inverted bottlenecks, the same without residuals ("bottleneck"), or
            "standard" strided and transposed convolutions (the paper's ablation).
        grn: global response normalisation in every block but the first down block (the reference's quirk).
        grn_first_down: in that block too, as MedNeXt-v2 has it.
        grn_denominator: divide the norm by the "mean" or the "sum" over channels: MedNeXt-v2's formula has
            the sum, the code that it builds on the mean.
        down_expansion: expansion ratio of each of the four down blocks; without it, that of the stage behind,
            as in the paper. MONAI's down blocks have the ratio of the stage before.
        output_padding: see `UpBlock`; the up blocks of MIST from version 2 on have it.
        checkpointing: the parts that the backward pass recomputes instead of storing: "none"; "expansion",
            all after the depthwise convolution of each block; or "blocks", whole blocks (also True).
    """

    weights_sha256 = ""  # of the file of the weights, see `Bundle.network`

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        expansion: tuple[int, ...],
        blocks: tuple[int, ...],
        kernel_size: int = 3,
        deep_supervision: bool = False,
        dimensions: int = 3,
        channels: int = STEM_CHANNELS,
        residual: bool = True,
        resampling: Resampling = "residual",
        grn: bool = False,
        grn_first_down: bool = False,
        grn_denominator: GrnDenominator = "mean",
        down_expansion: tuple[int, ...] | None = None,
        output_padding: bool = False,
        checkpointing: Checkpointing | bool = "none",
    ) -> None:
        super().__init__()
        _check(in_channels, num_classes, expansion, blocks, kernel_size, dimensions, resampling)
        down_expansion = down_expansion or expansion[1:5]
        if len(down_expansion) != 4:
            raise OptionError(f"MedNeXt has four down blocks, not {len(down_expansion)} ratios for them.")
        self.deep_supervision = deep_supervision
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.dimensions = dimensions
        widths = [channels * 2**level for level in range(5)]

        shared: dict[str, Any] = {
            "kernel_size": kernel_size, "dimensions": dimensions, "grn_denominator": grn_denominator
        }  # fmt: skip

        def stage(index: int, width: int) -> nn.Sequential:
            block = partial(
                MedNeXtBlock, width, width, expansion[index], residual=residual, grn=grn, **shared
            )
            return nn.Sequential(*(block() for _ in range(blocks[index])))

        def resampled(
            kind: type[DownBlock | UpBlock], widths: tuple[int, int], ratio: int, grn: bool
        ) -> nn.Module:
            if resampling != "standard":
                return kind(*widths, ratio, residual=resampling == "residual", grn=grn, **shared)
            if kind is UpBlock:
                return TRANSPOSED[dimensions](*widths, 2, stride=2)
            return CONVOLUTION[dimensions](*widths, 3, stride=2, padding=1)

        self.stem = CONVOLUTION[dimensions](in_channels, channels, 1)
        for level in range(4):
            self.add_module(f"enc_block_{level}", stage(level, widths[level]))
            with_grn = grn and (level > 0 or grn_first_down)
            ends = widths[level], widths[level + 1]
            self.add_module(f"down_{level}", resampled(DownBlock, ends, down_expansion[level], with_grn))
        self.bottleneck = stage(4, widths[4])
        for level in (3, 2, 1, 0):
            index = 8 - level
            up = resampled(UpBlock, (widths[level + 1], widths[level]), expansion[index], grn)
            if output_padding and isinstance(up, UpBlock):
                up.compute_last_plane()
            self.add_module(f"up_{level}", up)
            self.add_module(f"dec_block_{level}", stage(index, widths[level]))
        for level in range(5 if deep_supervision else 1):
            self.add_module(f"out_{level}", OutBlock(widths[level], num_classes, dimensions))
        self.checkpoint(checkpointing)

    @classmethod
    def variant(
        cls,
        name: str,
        in_channels: int,
        num_classes: int,
        kernel_size: int = 3,
        deep_supervision: bool = False,
        dimensions: int = 3,
        *,
        grn: bool = False,
        **options: Any,
    ) -> MedNeXt:
        """One of the papers' sizes: "S", "B", "M", "L", "v2-B" or "v2-W"; the last two always have GRN.

        `options` are the other arguments of the class.

        Raises:
            OptionError: the name is unknown, or a value outside of its range.
        """
        if name not in VARIANTS:
            raise OptionError(f"There is no MedNeXt variant {name!r}: choose one of {', '.join(VARIANTS)}.")
        size = VARIANTS[name]
        return cls(
            in_channels,
            num_classes,
            size.expansion,
            size.blocks,
            kernel_size,
            deep_supervision,
            dimensions,
            channels=size.channels,
            grn=grn or size.v2,
            grn_first_down=size.v2,
            **options,
        )

    def checkpoint(self, what: Checkpointing | bool, stages: Collection[int] = range(9)) -> None:
        """Choose the parts that the backward pass recomputes; see the class.

        Args:
            what: "none", "expansion" or "blocks".
            stages: those of the nine to which it applies, each with the resampling block before it: 0 and 8,
                of the full resolution, hold most of the memory.

        Raises:
            OptionError: `what` is none of these, nor True or False; or there is no such stage.
        """
        if isinstance(what, bool):
            what = "blocks" if what else "none"
        if what not in ("none", "expansion", "blocks"):
            raise OptionError(f"Checkpointing is 'none', 'expansion' or 'blocks', not {what!r}.")
        if not set(stages) <= set(range(9)):
            raise OptionError(f"The stages of MedNeXt are 0 to 8, not {sorted(stages)}.")
        self.checkpointing: Checkpointing = what
        self._recomputed = {name for stage in stages for name in _PARTS[stage]}
        for name, module in self.named_modules():
            if isinstance(module, MedNeXtBlock):
                part = name.split(".")[0]
                module.recompute_expansion = what == "expansion" and part in self._recomputed

    def _run(self, name: str, x: Tensor) -> Tensor:
        part = self.get_submodule(name)
        again = self.checkpointing == "blocks" and name in self._recomputed
        if not (again and torch.is_grad_enabled()):
            return part(x)
        for block in part if isinstance(part, nn.Sequential) else (part,):
            x = checkpoint(block, x, use_reentrant=False)
        return x

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits of `x`.

        Args:
            x: `(N, in_channels, Z, Y, X)`, every side divisible by 16.

        Returns:
            `(N, num_classes, Z, Y, X)`; with deep supervision a list of five,
            at scales 1, 1/2, 1/4, 1/8, 1/16.

        Raises:
            OptionError: a side is not divisible by 16, or all of them are 16.
        """
        check_patch(x.shape[2:])
        x = self.stem(x)
        skips = []
        for level in range(4):
            x = self._run(f"enc_block_{level}", x)
            skips.append(x)
            x = self._run(f"down_{level}", x)
        x = self._run("bottleneck", x)
        heads = [self._run("out_4", x)] if self.deep_supervision else []
        for level in (3, 2, 1, 0):
            x = skips.pop() + self._run(f"up_{level}", x)
            x = self._run(f"dec_block_{level}", x)
            if level == 0 or self.deep_supervision:
                heads.append(self._run(f"out_{level}", x))
        return heads[::-1] if self.deep_supervision else heads[0]


def _check(
    in_channels: int,
    num_classes: int,
    expansion: tuple[int, ...],
    blocks: tuple[int, ...],
    kernel_size: int,
    dimensions: int,
    resampling: str,
) -> None:
    if in_channels < 1 or num_classes < 1:
        raise OptionError(
            f"MedNeXt needs at least one channel and one class, not {in_channels} and {num_classes}."
        )
    if len(expansion) != 9 or len(blocks) != 9:
        raise OptionError(
            f"MedNeXt has nine stages, not {len(expansion)} expansion ratios and {len(blocks)} block counts."
        )
    if kernel_size not in (3, 5, 7):
        raise OptionError(f"The kernel size must be 3, 5 or 7, not {kernel_size}.")
    if dimensions not in (2, 3):
        raise OptionError(f"MedNeXt comes in 2 or 3 dimensions, not {dimensions}.")
    if resampling not in ("residual", "bottleneck", "standard"):
        raise OptionError(f"Resampling is 'residual', 'bottleneck' or 'standard', not {resampling!r}.")
