"""From the result of a run to nodes of the scene."""
