"""Train one network on one fold."""
