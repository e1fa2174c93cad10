"""Command-line options of a host: those of the plugin, and those read from a record."""
