"""Weights of other libraries: their files, their names, and what they become."""
