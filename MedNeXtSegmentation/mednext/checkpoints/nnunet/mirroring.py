"""Find the axes along which a network may be mirrored at inference: those along which its training mirrored.

nnU-Net v2 writes them into its checkpoints. nnU-Net v1 and MedNeXt's own code write the trainer's name only,
so a table of their trainers gives the axes; some names contain them. An unknown trainer may mirror along any
axes, and mirroring a network that was trained without it swaps left and right, so the user must tell.

The names are those of the classes in MIC-DKFZ/nnUNet (v1.5 to v1.7.1, v2.0 to v2.8.1) and MIC-DKFZ/MedNeXt at
0b78ed8, with the axes that each one sets or inherits for three-dimensional networks.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from typing import Any

from ...errors import CheckpointError, OptionError
from ...model.labels import Label, Region
from ..import_options import ImportOptions
from ..import_report import ImportNotes

_ALL = (0, 1, 2)

_MIRROR_ALL = """
    nnUNetTrainer nnUNetTrainerAdam nnUNetTrainerAdam1en3 nnUNetTrainerAdam3en4 nnUNetTrainerAdan
    nnUNetTrainerAdan1en1 nnUNetTrainerAdan1en3 nnUNetTrainerAdan3en4 nnUNetTrainerAdanCosAnneal
    nnUNetTrainerBN nnUNetTrainerBenchmark_5epochs nnUNetTrainerBenchmark_5epochs_noDataLoading
    nnUNetTrainerCE nnUNetTrainerCELoss nnUNetTrainerCELoss_5epochs nnUNetTrainerCascadeFullRes
    nnUNetTrainerCosAnneal nnUNetTrainerDA5 nnUNetTrainerDA5Segord0 nnUNetTrainerDA5_10epochs
    nnUNetTrainerDA5ord0 nnUNetTrainerDAOrd0 nnUNetTrainerDiceCELoss_noSmooth nnUNetTrainerDiceLoss
    nnUNetTrainerDiceTopK10Loss nnUNetTrainerNoDeepSupervision nnUNetTrainerTopk10Loss
    nnUNetTrainerTopk10LossLS01 nnUNetTrainerVanillaAdam nnUNetTrainerVanillaAdam1en3
    nnUNetTrainerVanillaAdam3en4 nnUNetTrainer_100epochs nnUNetTrainer_10epochs nnUNetTrainer_1epoch
    nnUNetTrainer_2000epochs nnUNetTrainer_20epochs nnUNetTrainer_250epochs nnUNetTrainer_4000epochs
    nnUNetTrainer_500epochs nnUNetTrainer_50epochs nnUNetTrainer_5epochs nnUNetTrainer_750epochs
    nnUNetTrainer_8000epochs nnUNetTrainer_DASegOrd0 nnUNetTrainer_noDummy2DDA
    nnUNetTrainer_probabilisticOversampling nnUNetTrainer_probabilisticOversampling_010
    nnUNetTrainer_probabilisticOversampling_033 nnUNetTrainer_warmup
    nnUNetTrainerV2 nnUNetTrainerV2BraTSRegions nnUNetTrainerV2BraTSRegions_BN
    nnUNetTrainerV2BraTSRegions_DA3 nnUNetTrainerV2BraTSRegions_DA3_BD
    nnUNetTrainerV2BraTSRegions_DA3_BN nnUNetTrainerV2BraTSRegions_DA3_BN_BD
    nnUNetTrainerV2BraTSRegions_DA4_BN nnUNetTrainerV2BraTSRegions_DA4_BN_BD
    nnUNetTrainerV2BraTSRegions_DDP nnUNetTrainerV2BraTSRegions_Dice nnUNetTrainerV2CascadeFullRes
    nnUNetTrainerV2CascadeFullRes_EducatedGuess nnUNetTrainerV2CascadeFullRes_EducatedGuess2
    nnUNetTrainerV2CascadeFullRes_EducatedGuess3 nnUNetTrainerV2CascadeFullRes_lowerLR
    nnUNetTrainerV2CascadeFullRes_noConnComp nnUNetTrainerV2CascadeFullRes_shorter
    nnUNetTrainerV2CascadeFullRes_shorter_lowerLR nnUNetTrainerV2CascadeFullRes_smallerBinStrel
"""

# After "nnUNetTrainerV2_".
_V2_MIRROR_ALL = """
    2epochs 2epochs_dummyLoad 3ConvPerStage 3ConvPerStageSameFilters 3DUXNet 5epochs 5epochs_CEnoDS
    5epochs_dummyLoad 5epochs_dummyLoadCEnoDS 5epochs_noDS Adam Adam_ReduceOnPlateau
    Adam_nnUNetTrainerlr BN DA2 DA3 DA3_BN DA5 DDP DDP_5epochs DDP_5epochs_dummyLoad DP FRN ForceBD
    ForceSD GN GeLU LReLU_slope_2en1 Loss_CE Loss_CEGDL Loss_Dice Loss_DiceCE_noSmooth Loss_DiceTopK10
    Loss_Dice_LR1en3 Loss_Dice_squared Loss_DicewithBG Loss_DicewithBG_LR1en3 Loss_MCC Loss_MCCnoBG
    Loss_TopK10 MMS Mish NoNormalization NoNormalization_lr1en3 O2 Optim_and_LR Ranger_lr1en2
    Ranger_lr3en3 Ranger_lr3en4 ReLU ReLU_biasInSegOutput ReLU_convReLUIN ResTrans ResTrans_Dummy
    ResencUNet ResencUNet_DA3 ResencUNet_DA3_BN ResencUNet_SimonsInit ResencUNet_SimonsInit_DA5
    ResencUNet_SimonsInit_adamw SGD_ReduceOnPlateau SGD_fixedSchedule SGD_fixedSchedule2 SGD_lr1en1
    SGD_lr1en3 SegLoss_Focal SwinUNETR SwinUNETR_128x128x128 SwinUNETR_128x128x128_Dummy
    SwinUNETR_128x128x128_lr_5e_4 TransBTS TransFuse TransFuse_S TransFuse_S_Dummy TransUNet
    TransUNet_Dummy UNETR UTNet UTNet_Dummy allConv3x3 copy1 copy2 copy3 copy4 cycleAtEnd cycleAtEnd2
    focalLoss fp16 fp32 fullEvals graduallyTransitionFromCEToDice independentScalePerAxis insaneDA
    lReLU_biasInSegOutput lReLU_convReLUIN momentum09 momentum095 momentum098 momentum09in2D
    nnFormerTumor nnFormerTumor_Dummy noDeepSupervision reduceMomentumDuringTraining resample33
    softDeepSupervision warmup
"""

# MedNeXt's trainers, and those of this project.
_MEDNEXT = re.compile(
    r"nnUNetTrainerV2_MedNeXt_[SBML]_kernel3|nnUNetTrainerV2_MedNeXt_[SBML]_kernel5(_lr_(1e_4|25e_5|5e_4))?"
    r"|nnUNetTrainerMedNeXt(_\w+)?"
)
_KNOWN = frozenset((*_MIRROR_ALL.split(), *(f"nnUNetTrainerV2_{name}" for name in _V2_MIRROR_ALL.split())))

_NONE = re.compile(r"no_?mirror|no_?da(?![a-z])|no_?data_?aug", re.IGNORECASE)
_ONLY = re.compile(r"only_?mirror_?([0-2]{1,3})(?![0-9])", re.IGNORECASE)
_SIDES = re.compile(r"left|right|link|recht|gauche|droit|(?<![a-z])(l|r|lt|rt|lh|rh)(?![a-z])", re.IGNORECASE)
_SIDE_AT_THE_END = re.compile(r"[a-z][LR](?![A-Za-z])")


def axes_of_trainer(name: str) -> tuple[int, ...] | None:
    """The axes along which a trainer of this name mirrors; None for an unknown trainer."""
    only = _ONLY.search(name)
    if _NONE.search(name):
        return ()
    if only:
        return tuple(sorted(set(map(int, only[1]))))
    return _ALL if name in _KNOWN or _MEDNEXT.fullmatch(name) else None


def read_axes(value: Any, where: str) -> tuple[int, ...]:
    """The axes as a checkpoint writes them; its None means no axes.

    Raises:
        CheckpointError: the value is not a list of axes.
    """
    axes = () if value is None else value
    if not _are_axes(axes):
        raise CheckpointError(
            f"{where}: 'inference_allowed_mirroring_axes' must be a list of the axes 0, 1 and 2, not "
            f"{reprlib.repr(value)}. Copy the file again."
        )
    return tuple(axes)


def mirroring(
    trainer: str,
    said: tuple[int, ...] | None,
    labels: Sequence[Label | Region],
    options: ImportOptions,
    notes: ImportNotes,
) -> tuple[int, ...]:
    """The axes along which the imported model is mirrored.

    Args:
        trainer: name of the trainer's class.
        said: the axes that the checkpoint itself names; None if it does not.
        labels: the structures of the model, regions among them.
        options: its `mirror_axes` count if neither the checkpoint nor the trainer's name gives the axes.
        notes: get the source, a remark or the question if they are unknown.

    Raises:
        OptionError: `mirror_axes` has impossible axes, or axes along which the training did not mirror.
        CheckpointError: the axes are unknown, and the model tells left from right.
    """
    known = axes_of_trainer(trainer) if said is None else said
    given = options.mirror_axes
    if given is not None and not _are_axes(given):
        raise OptionError(f"The axes to mirror must be among 0, 1 and 2, each once, not {list(given)}.")
    if given is not None and known is not None and not set(given) <= set(known):
        raise OptionError(
            f"The training ({trainer}) mirrored along the axes {list(known) or 'none'}, so the model cannot "
            f"be mirrored along {sorted(set(given) - set(known))}. Leave these, or the whole option, out."
        )
    if given is not None:
        notes.sources["mirror_axes"] = "given"
        return tuple(given)
    if known is not None:
        notes.sources["mirror_axes"] = f"trainer {trainer}" if said is None else "checkpoint"
        return known
    sided = [label.name for label in labels if _tells_sides(label)]
    if sided:
        notes.ask(
            "mirror_axes",
            CheckpointError(
                f"The trainer {trainer!r} is not known here, nor whether it mirrored images, and "
                f"the model tells sides ({sided[0]!r}): mirroring could swap left and right. Say along which "
                "of the axes 0, 1 and 2 (z, y, x of the training's arrays) the training mirrored, or that it "
                "did not (--mirror-axes none)."
            ),
        )
        return ()
    notes.sources["mirror_axes"] = "assumed"
    notes.remark(
        f"It is not mirrored, as the trainer {trainer!r} is not known here; if its training mirrored, import "
        "it again with --mirror-axes."
    )
    return ()


def _are_axes(axes: Any) -> bool:
    if not isinstance(axes, tuple | list) or len(axes) > len(_ALL):
        return False
    return all(type(axis) is int and axis in _ALL for axis in axes) and len(set(axes)) == len(axes)


def _tells_sides(label: Label | Region) -> bool:
    codes = label.terminology
    modifiers = [codes.type_modifier, codes.region_modifier] if codes else []
    return any(names_side(name) for name in (label.name, *(code.meaning for code in modifiers if code)))


def names_side(name: str) -> bool:
    """Whether the name of a structure says that it is the left one, or the right one."""
    return bool(_SIDES.search(name) or _SIDE_AT_THE_END.search(name))
