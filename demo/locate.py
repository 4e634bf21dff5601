"""Find the hippocampi of a head, by affine registration of the template's head to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk
from mednext.images.formats.image_files import read_image, to_image
from mednext.images.geometry import Geometry
from MedNeXtSegmentationLib.icbm152 import CENTRES_RAS
from template_head import template_file

Point = tuple[float, float, float]

HEAD_MM = 100.0  # an image smaller than this on every side is already cropped
COARSE_MM = 4
SEED = 0


def is_head(geometry: Geometry) -> bool:
    """Whether an image shows more than the surroundings of a hippocampus."""
    return any(n * mm > HEAD_MM for n, mm in zip(geometry.size, geometry.spacing, strict=True))


def hippocampus_centres(image: Path) -> Mapping[str, Point]:
    """The centres (mm, RAS) of the boxes around the hippocampi of a head."""
    if image == template_file():
        return CENTRES_RAS
    read = read_image(image)  # as the run reads it: ITK may place the image otherwise
    head = sitk.Cast(to_image(read.array, read.geometry), sitk.sitkFloat32)
    to_head = template_to_head(sitk.ReadImage(str(template_file()), sitk.sitkFloat32), head)
    return {side: _lps_ras(to_head.TransformPoint(_lps_ras(centre))) for side, centre in CENTRES_RAS.items()}


def template_to_head(template: sitk.Image, head: sitk.Image) -> sitk.Transform:
    """The affine transform that maps positions (LPS, mm) in the template to positions in the head."""
    template, head = _coarse(template), _coarse(head)
    rigid = sitk.CenteredTransformInitializer(
        template, head, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    _register(template, head, rigid)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    affine.SetCenter(rigid.GetCenter())
    _register(template, head, affine)
    return affine


def _coarse(image: sitk.Image) -> sitk.Image:
    """The image averaged over blocks of about 4 mm: precise enough to place a box of 40 mm, and fast."""
    return sitk.BinShrink(image, [max(1, round(COARSE_MM / mm)) for mm in image.GetSpacing()])


def _register(template: sitk.Image, head: sitk.Image, transform: sitk.Transform) -> None:
    """Optimise the transform in place for the mutual information of the two images."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.25, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescentLineSearch(1.0, 50, 1e-5, 5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(template, head)


def _lps_ras(point: Point) -> Point:
    x, y, z = point
    return (-x, -y, z)
