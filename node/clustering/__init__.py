"""A node as a member of a cluster: what carries out the core's effects, and redirections."""
