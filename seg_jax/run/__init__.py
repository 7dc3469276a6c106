"""Runs: their directory, configuration, compiled functions, checkpoints and logs."""
