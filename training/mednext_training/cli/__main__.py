"""`python -m mednext_training.cli`, which `mednext-train` restarts itself as."""

from . import main

raise SystemExit(main())
