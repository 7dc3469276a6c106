"""Synthetic street scenes."""
