"""On-policy skill distillation for language-model agents, on Lightning (OPID, arXiv 2606.26790)."""

__version__ = "0.1.0"
