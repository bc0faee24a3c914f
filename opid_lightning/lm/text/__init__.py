"""Between text and token ids: chat templates, special tokens, and whether they fit."""
