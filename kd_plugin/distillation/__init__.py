"""Compare a student with its teacher, in any training loop."""
