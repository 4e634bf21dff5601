"""The machine below everything: files replaced in one step, locks, processes, memory, devices."""
