"""The module's panel: a folder for each section, joined in `panel.py`."""
