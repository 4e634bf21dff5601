"""Import foreign checkpoints into bundles: results folders of nnU-Net v1 and v2, state dicts of MONAI.

folder = "nnUNet_results/Dataset004_Hippocampus/nnUNetTrainerMedNeXt_S_k3__nnUNetPlans__3d_fullres"
options = ImportOptions(task="hippocampus", orientation="RAS")
bundle = import_checkpoint(folder, "models/hippocampus", options)
"""

from __future__ import annotations

from .import_options import ImportOptions
from .importing import import_checkpoint
from .state_dicts import convert_state_dict, infer_network

__all__ = ["ImportOptions", "convert_state_dict", "import_checkpoint", "infer_network"]
