"""What keeps a training safe, whoever's loop it is."""
