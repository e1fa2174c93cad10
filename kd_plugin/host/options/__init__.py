"""The command line of a host: the plugin's options, and those a record fills in."""
