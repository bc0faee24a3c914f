"""Samplers: engines that turn prompts into responses with the policy's newest weights."""
