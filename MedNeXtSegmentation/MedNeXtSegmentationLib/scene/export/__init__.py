"""From a corrected segmentation node to a file or a training case."""
