"""fit, validate, test, predict, play, export and retriever."""
