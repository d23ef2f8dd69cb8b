"""Measuring slotmesh against the stock server. `python -m tools.bench`; see `runner`."""
