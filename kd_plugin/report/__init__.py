"""``kd report``: pages made of numbers."""

# Parts of a report that can be asked for alone; here, as the command line needs them without PyTorch.
SECTIONS = ("cost", "quality", "frequency", "relations", "stability", "samples")
