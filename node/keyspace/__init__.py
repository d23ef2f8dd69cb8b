"""Keys, values and expiry: the numbered databases, kept slot by slot."""
