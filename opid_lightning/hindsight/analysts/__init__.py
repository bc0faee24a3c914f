"""Who writes skills."""
