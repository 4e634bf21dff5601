"""Compare networks in one frame."""
