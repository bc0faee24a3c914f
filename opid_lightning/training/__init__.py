"""What Lightning trains: module, data module, hooks, loggers, strategies."""
