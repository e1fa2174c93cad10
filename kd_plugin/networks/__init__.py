"""Networks of the host family: what they are, read from and written to files; which of their features are read."""
