"""The proof of the server: a real `mednext serve` on Ray Serve, and what can go wrong, counted."""
