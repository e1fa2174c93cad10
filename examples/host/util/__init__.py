"""Utilities of the embedded host."""
