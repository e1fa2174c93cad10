"""Integration with host repositories: their files, options, model classes and scripts."""
