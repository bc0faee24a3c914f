"""Language models: loading them, chat templates, and log-probs of responses."""
