"""Kerf: splitting-as-a-service for neural networks."""

__version__ = "0.1.0"
