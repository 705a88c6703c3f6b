"""Every fault there is, in the order in which they are replayed."""

from tests.chaos import api, cluster, own
from tests.chaos.catalogue import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "api", "cluster", "own"]
