"""A node as a process of the operating system: start, signals, end."""
