"""What a host's folder holds, read without importing it."""
