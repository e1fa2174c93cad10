"""The commands of ``kd``, a file each."""
