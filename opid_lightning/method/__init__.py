"""The method: what a reader of the paper opens."""
