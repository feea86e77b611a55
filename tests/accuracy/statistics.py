"""The few statistics that accuracy tests compare with."""

import math


def share_z(hits: float, samples: float, true_share: float) -> float:
    """How many standard errors a measured share of `samples` samples lies from the true one."""
    error = math.sqrt(true_share * (1 - true_share) / samples)
    return (hits / samples - true_share) / error


def two_shares_z(hits: float, samples: float, other_hits: float, other_samples: float) -> float:
    """The same for two measured shares; the common share is estimated with one hit and one miss added."""
    pooled = (hits + other_hits + 1) / (samples + other_samples + 2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / samples + 1 / other_samples))
    return (hits / samples - other_hits / other_samples) / error
