"""Random whole heads, and how often the boxes around their hippocampi are found."""
