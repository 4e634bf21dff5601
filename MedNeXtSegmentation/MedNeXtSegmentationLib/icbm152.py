"""The ICBM152 template: its address, and the places of its hippocampi; known without Slicer."""

from __future__ import annotations

# T1, 1 mm, without skull: the file of the package nilearn, at the commit that added it. Its licence allows
# use and distribution for any purpose. Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
# Montreal Neurological Institute, McGill University.
URL = (
    "https://raw.githubusercontent.com/nilearn/nilearn/a5fa8b96e3765dccd2a20005aead0c4229fa7653/"
    "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
)
SHA256 = "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6"

# Centres of boxes around the hippocampi (mm, RAS), and the size of the images that the model was trained on.
CENTRES_RAS = {"left": (-27.0, -22.0, -11.0), "right": (27.0, -22.0, -11.0)}
BOX_MM = (36.0, 52.0, 40.0)
