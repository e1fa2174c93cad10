"""The cost of a network and the quality of its images."""
