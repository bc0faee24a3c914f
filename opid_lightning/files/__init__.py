"""Files written whole, caches, and what was left out of a data set."""
