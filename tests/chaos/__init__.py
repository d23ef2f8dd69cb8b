"""Random sequences of faults against real processes (`python -m tests.chaos`)."""
