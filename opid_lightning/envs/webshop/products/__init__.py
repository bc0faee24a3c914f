"""Products from the original files to an index on disk."""
