"""`python -m slotmesh.tools.bench`."""

from slotmesh.tools.bench.runner import main

main()
