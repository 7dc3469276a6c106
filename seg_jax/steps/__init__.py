"""Pure functions that are compiled: a training step, an evaluation step, prediction; and the arrays of a training."""
