"""Talking to a hosted language model."""
