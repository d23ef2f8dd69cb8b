"""Settings of every test."""

from hypothesis import HealthCheck, settings

# A deadline per example would be a timed test: on a busy machine it fails without a fault of ours.
settings.register_profile("slotmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slotmesh")
