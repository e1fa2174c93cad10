"""Numbers: what a network costs, how good its images are."""
