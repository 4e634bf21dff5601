"""The memory plan of a run beside the peak of its process: `make memory`."""
