"""Access to the machine: atomic writes, locks, processes, memory, devices, and safe text."""
