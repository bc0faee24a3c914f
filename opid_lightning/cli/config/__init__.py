"""From the command line and conf/ to settings."""
