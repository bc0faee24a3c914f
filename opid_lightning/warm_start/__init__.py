"""Warm start: a small policy learns an environment by imitating an expert."""
