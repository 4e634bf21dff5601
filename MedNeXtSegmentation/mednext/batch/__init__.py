"""Batches of cases: find them, segment them one after the other, and report."""
