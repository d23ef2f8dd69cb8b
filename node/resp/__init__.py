"""RESP2 and RESP3: parsing requests, encoding replies. Leaf modules: they know no command, client or key."""
