"""From a finished training to a model that others install."""
