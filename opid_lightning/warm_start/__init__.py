"""Warm start: a small policy learns ALFWorld by imitating an expert that searches."""
