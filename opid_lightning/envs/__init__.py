"""Environments: what is played, with its data, its prompts and its experts."""
