"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Nothing here depends on speed: a slow machine only takes longer. Derandomised, so that a run can be repeated.
settings.register_profile("relevo", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relevo")
