"""What holds for all tests."""

from hypothesis import settings

# How long an example takes is the machine's business: a deadline would fail tests where others use its CPUs.
settings.register_profile("fleetprof", deadline=None)
settings.load_profile("fleetprof")
