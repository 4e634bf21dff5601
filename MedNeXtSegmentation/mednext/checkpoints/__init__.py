"""Import foreign checkpoints into bundles: trainings of nnU-Net v1 and v2, and described files of weights.

folder = "nnUNet_results/Dataset004_Hippocampus/nnUNetTrainerMedNeXt_S_k3__nnUNetPlans__3d_fullres"
options = ImportOptions(task="hippocampus", orientation="RAS")
bundle = import_checkpoint(folder, "models/hippocampus", options)
"""

from __future__ import annotations

from .import_options import ImportOptions
from .importing import examine_checkpoint, import_checkpoint
from .state_dicts import convert_state_dict, infer_network

__all__ = ["ImportOptions", "convert_state_dict", "examine_checkpoint", "import_checkpoint", "infer_network"]
