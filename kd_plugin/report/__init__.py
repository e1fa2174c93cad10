"""``kd report``: pages made of numbers."""
