"""Command-line options of the embedded host."""
