"""Helpers of the embedded host."""
