"""Colours as DICOM stores them: CIELab of 1976 with the white point of sRGB, D65."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The matrix of IEC 61966-2-1, which defines sRGB; its rows give X, Y and Z of linear light.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.95047, 1.0, 1.08883])
_STEEP = (6 / 29) ** 3  # below it the cube root is replaced by a line


def cielab(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """Lightness (0 to 100), a and b (-128 to 127) of red, green and blue (0 to 255).

    The package highdicom converts colours only since 0.28, and Slicer 5.12 brings 0.27.
    """
    stored = np.array(color) / 255
    light = np.where(stored > 0.04045, ((stored + 0.055) / 1.055) ** 2.4, stored / 12.92)
    relative = _TO_XYZ @ light / _WHITE
    x, y, z = np.where(relative > _STEEP, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness = min(max(116 * y - 16, 0.0), 100.0)
    return float(lightness), float(500 * (x - y)), float(200 * (y - z))


def to_rgb(stored: Sequence[int]) -> tuple[int, int, int]:
    """Red, green and blue (0 to 255) of a colour as DICOM files store it: three numbers of 16 bits."""
    lightness, a, b = (float(value) / 65535 for value in stored)
    y = (100 * lightness + 16) / 116
    roots = np.array([y + (255 * a - 128) / 500, y, y - (255 * b - 128) / 200])
    line = 3 * (6 / 29) ** 2 * (roots - 4 / 29)
    light = np.linalg.solve(_TO_XYZ, _WHITE * np.where(roots > 6 / 29, roots**3, line)).clip(0, 1)
    red, green, blue = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    return round(255 * red), round(255 * green), round(255 * blue)
