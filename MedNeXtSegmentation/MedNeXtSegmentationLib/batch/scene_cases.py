"""The cases of a scene: its volumes, grouped by studies for a model with several channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import slicer
from mednext.batch.case import Case
from mednext.errors import ChannelError
from mednext.inputs.channel_matching import fits
from mednext.inputs.channel_names import group_by_channels
from mednext.model.description import Model
from mednext.system.file_names import safe_part, told_apart

from ..scene.results.uncertainty_node import is_uncertainty
from ..scene.volumes.channel_matching import matchChannels
from ..scene.volumes.image_description import describe

Volume = slicer.vtkMRMLScalarVolumeNode


@dataclass(frozen=True)
class SceneCase:
    """A case and its volumes, one for each channel in the model's order; none for a case with a problem."""

    case: Case
    volumes: tuple[Volume, ...] = ()


def casesOfScene(
    scene: slicer.vtkMRMLScene, model: Model, prefix: str = "", chosen: Sequence[Volume] | None = None
) -> list[SceneCase]:
    """The cases of the chosen volumes, or of all, each with a unique name that begins with `prefix`.

    Label maps, colour images, hidden volumes and uncertainties are ignored. A frame of a sequence is skipped,
    since its sequence can be segmented as a whole.
    """
    every = _nodes(scene, "vtkMRMLScalarVolumeNode") if chosen is None else chosen
    volumes = [volume for volume in every if isImage(volume)]
    frames = [volume for volume in volumes if _isFrame(volume)]
    cases = [_leftOut(volume, "It is a frame of a sequence: segment the sequence.") for volume in frames]
    still = [volume for volume in volumes if volume not in frames]
    if len(model.channels) == 1:
        cases += [_single(volume, model) for volume in still]
    else:
        for members in _byStudy(still):
            cases += _grouped(members, model)
    names = told_apart([each.case.name for each in cases], [each.case.name for each in cases])
    return [
        replace(each, case=replace(each.case, name=prefix + name))
        for each, name in zip(cases, names, strict=True)
    ]


def _nodes(scene: slicer.vtkMRMLScene, className: str) -> list[slicer.vtkMRMLNode]:
    """All nodes of a class in any scene; `slicer.util.getNodesByClass` looks into the main one only."""
    count = scene.GetNumberOfNodesByClass(className)
    return [scene.GetNthNodeByClass(index, className) for index in range(count)]


def isImage(volume: Volume) -> bool:
    """Whether a volume is a visible image, and no label map, colour image or uncertainty."""
    return (
        volume.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not volume.GetHideFromEditors()
        and not is_uncertainty(volume)
    )


def _isFrame(volume: Volume) -> bool:
    scene = volume.GetScene()  # None for a node that was removed
    browsers = _nodes(scene, "vtkMRMLSequenceBrowserNode") if scene else []
    return any(browser.GetSequenceNode(volume) is not None for browser in browsers)


def _single(volume: Volume, model: Model) -> SceneCase:
    channel, image = model.channels[0], describe(volume)
    if not fits(channel, image):
        kind = image.modality if image.modality not in ("", channel.modality) else image.kind
        return _leftOut(volume, f"It seems to be {kind}, and the model takes {channel.name}.")
    return _case("", (volume,))


def _byStudy(volumes: Sequence[Volume]) -> list[list[Volume]]:
    """The volumes grouped by their parent in the subject hierarchy: a study, a folder, or the scene."""
    studies: dict[int, list[Volume]] = {}
    for volume in volumes:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
        item = hierarchy.GetItemByDataNode(volume) if hierarchy else 0
        studies.setdefault(hierarchy.GetItemParent(item) if item else 0, []).append(volume)
    return list(studies.values())


def _grouped(volumes: Sequence[Volume], model: Model) -> list[SceneCase]:
    """The cases of a study: one if each channel has one clear volume, otherwise by the volumes' names."""
    channels = [channel.name for channel in model.channels]
    wanted = ", ".join(channels)
    matched = matchChannels(model.channels, [None] * len(channels), volumes)
    if None not in matched:
        rest = [volume for volume in volumes if volume not in matched]
        left = [_leftOut(volume, f"It is none of {wanted}.") for volume in rest]
        return [*left, _case("", tuple(matched))]
    groups, unclaimed = group_by_channels([volume.GetName() or "" for volume in volumes], channels)
    cases = [_leftOut(volumes[index], f"It is not clearly one of {wanted}.") for index in unclaimed]
    for group in groups:
        if group.problem:
            problem = ChannelError(f"{group.problem} The model needs {wanted}, each once.")
            name = group.name or "volumes without a common name"
            cases.append(SceneCase(Case(safe_part(name), (), (), name, problem=problem)))
        else:
            cases.append(_case(group.name, tuple(volumes[index] for index in group.members)))
    return cases


def _case(name: str, volumes: tuple[Volume, ...]) -> SceneCase:
    source = "; ".join(volume.GetName() or "" for volume in volumes)
    return SceneCase(Case(safe_part(name or source), (), (), source), volumes)


def _leftOut(volume: Volume, why: str) -> SceneCase:
    name = volume.GetName() or ""
    return SceneCase(Case(safe_part(name), (), (), name, left_out=why))
