"""Sampling with vLLM servers."""
