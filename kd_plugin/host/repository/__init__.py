"""Inspect a host repository without importing it."""
