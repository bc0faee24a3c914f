"""Rules: what each method makes of the shift of log-probs in hindsight."""
