"""Run a host's script with the plugin."""
