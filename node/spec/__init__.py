"""How commands are declared: the command table, where keys stand, how arguments are read and documented."""
