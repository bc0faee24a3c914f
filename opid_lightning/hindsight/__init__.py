"""From a finished trajectory to skills."""
