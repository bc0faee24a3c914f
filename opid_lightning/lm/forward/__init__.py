"""One forward pass: layouts of rows, attention, log-probs."""
