"""The module's panel: each part in a file of its own, joined in `widget.py`."""
