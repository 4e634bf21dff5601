"""Tasks and models: the list, the card, weights, import and export."""
