"""How well a transform brings the template onto an image: normalised mutual information."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .template import Template

_BINS = 24
_LEAST_SEEN = 0.55  # of the template, that the image must show
_FULLY_SEEN = 0.85
_LEAST_ENTROPY = 0.2  # of the image's part, in nats: air has less


class Similarity:
    """Compares a template with an image at one resolution.

    Mutual information knows nothing of contrast, which differs between scanners and sequences.
    """

    def __init__(self, template: Template, rim: str, image: sitk.Image) -> None:
        self._grid = template.image
        self._mask = sitk.GetArrayFromImage(template.masks[rim]).astype(bool)
        values = sitk.GetArrayFromImage(template.image)[self._mask]
        self._template_bins = np.clip(values / values.max() * _BINS, 0, _BINS - 1).astype(np.int32)
        brightest = np.percentile(sitk.GetArrayViewFromImage(image), 99.8)
        self._image = sitk.Clamp(
            image * (_BINS / max(float(brightest), 1e-6)), sitk.sitkFloat32, 0.0, _BINS - 0.001
        )

    def __call__(self, to_image: sitk.Transform) -> float:
        """Between 0 and 1, lower where the image shows only a part of the template."""
        resampled = sitk.Resample(self._image, self._grid, to_image, sitk.sitkLinear, -1.0)
        values = sitk.GetArrayViewFromImage(resampled)[self._mask]
        inside = values >= 0
        seen = float(inside.mean())
        if seen < _LEAST_SEEN:
            return 0.0
        pairs = self._template_bins[inside] * _BINS + values[inside].astype(np.int32)
        counts = np.bincount(pairs, minlength=_BINS * _BINS).reshape(_BINS, _BINS)
        both, one, other = (_entropy(each) for each in (counts.ravel(), counts.sum(1), counts.sum(0)))
        if other < _LEAST_ENTROPY:
            return 0.0
        return max(0.0, 2 * (one + other - both) / (one + other)) * min(1.0, seen + 1 - _FULLY_SEEN)


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
