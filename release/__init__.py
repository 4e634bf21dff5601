"""A release: Python packages, the extension's archive, the Index's entry, checksums, and a checklist."""
