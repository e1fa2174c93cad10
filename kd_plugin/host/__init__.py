"""Everything that knows a host repository: its contract, its options, its model classes, its scripts."""
