"""Run a host's script under the plugin."""
