"""Evaluation of a split and of stored checkpoints."""
