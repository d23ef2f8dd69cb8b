"""Measuring slotmesh against the stock server. `python -m slotmesh.tools.bench`; see `runner`."""
