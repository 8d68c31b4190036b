"""Keras networks: their configuration, and what an edit does to their layers."""
