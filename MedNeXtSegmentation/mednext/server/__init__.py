"""The service `mednext serve`: keys, jobs, a fair queue, engines on Ray Serve, and the web application."""
