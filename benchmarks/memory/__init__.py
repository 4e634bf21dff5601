"""The memory plan of a run beside the peak of its process: `python -m benchmarks.memory`."""
