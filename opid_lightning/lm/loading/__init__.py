"""Models and tokenizers as folders: found, loaded, checked and written."""
