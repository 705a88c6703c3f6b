"""One root exception, three families by blame: configuration, cluster, host.

A message says what is wrong, where, and what to do. Expected outcomes are values with a
reason, not exceptions: these are for what ends an operation.
"""


class NplbError(Exception):
    """Root of everything nplb raises on purpose. `exit_code` is what the command exits with."""

    exit_code = 1


class ConfigurationError(NplbError):
    """The operator's input is wrong: file, flag, environment or manifest."""

    exit_code = 78


class ClusterError(NplbError):
    """The cluster, or the way to it, is at fault: unreachable, refusing, answering nonsense."""


class HostError(NplbError):
    """The edge machine is at fault: a port in use, a missing right, no memory or descriptors."""


class HostPermissionError(HostError):
    """The edge machine refuses for want of a right; the message names the right."""

    exit_code = 77
