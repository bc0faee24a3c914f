"""Playing tasks with a policy."""
