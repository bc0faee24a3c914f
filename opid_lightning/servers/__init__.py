"""Servers that a run starts: their processes, their environment, and their health."""
