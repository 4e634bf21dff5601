"""Many workers for one batch: warm processes on this machine, or on the machines of a Ray cluster."""
