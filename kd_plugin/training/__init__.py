"""Guarding, saving and resuming a training."""
