"""`python -m mednext_training.cli`, which `mednext-train` restarts itself as."""

from mednext.system.memory_settings import end_without_search

from . import main

end_without_search()
raise SystemExit(main())
