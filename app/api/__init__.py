"""Kerf over HTTP."""
