"""What can be segmented, and the models for it: the list, the card, weights, import and export."""
