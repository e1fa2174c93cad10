"""A dashboard of a training, from the files that a host writes."""
