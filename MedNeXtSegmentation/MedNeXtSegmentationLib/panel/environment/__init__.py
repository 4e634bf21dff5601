"""The environment: check, mend, and the buttons beside an error."""
