"""Runs on a server of `mednext serve`: the language of both sides, and the client, which needs no torch."""
