"""The commands of ``kd``, one module each."""
