"""The environment: check, repair, and the buttons beside an error."""
