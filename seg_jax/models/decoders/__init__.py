"""Decoders: feature maps, finest first, to logits; a file for each architecture."""
