"""The worker as Slicer uses it: a process of its own, and runs that can be asked, awaited and cancelled."""
