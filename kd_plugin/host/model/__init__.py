"""Distillation inside a host's model class."""
