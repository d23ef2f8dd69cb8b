"""How much memory is used, and which keys go when it is too much."""
