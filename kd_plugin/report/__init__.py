"""What a generator costs and how good its images are: numbers first, pages elsewhere."""
