"""Match the images of a run to the channels of a model, and check that they fit."""
