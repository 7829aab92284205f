"""Benchmarks: every figure a ratio, or stands beside its yardstick, in one run."""
