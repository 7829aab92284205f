"""Algorithms that find the best cut of a costed DAG."""
