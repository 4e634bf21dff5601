"""The overhead of sharing a batch among many workers."""
