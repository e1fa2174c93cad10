"""Networks of the host family: architectures, checkpoints, discriminators and feature taps."""
