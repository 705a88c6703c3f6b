"""The settings as a pass needs them: with the addresses that the edge's interfaces have now."""

import logging
from collections.abc import Callable, Mapping

from nplb.model.settings import Settings
from nplb.observe.interfaces import interface_addresses
from nplb.plan.interfaces import names_interfaces, with_addresses

log = logging.getLogger(__name__)


class Interfaces:
    """Resolves interfaces. The same settings and addresses give the same object, since passes
    compare identities first. `read` asks the system."""

    def __init__(
        self, read: Callable[[], Mapping[str, tuple[str, ...]]] = interface_addresses
    ) -> None:
        self._read = read
        self._known: Mapping[str, tuple[str, ...]] = {}
        self._settings: Settings | None = None
        self._resolved: Settings | None = None

    def resolved(self, settings: Settings) -> Settings:
        """The settings with addresses; what can't be read now is as it was before."""
        if not names_interfaces(settings):
            return settings
        known = self._known
        try:
            known = self._read()
        except OSError as error:
            log.warning("this host's addresses can't be read: %s", error)
        if self._resolved is None or settings is not self._settings or known != self._known:
            self._settings, self._known = settings, known
            self._resolved = with_addresses(settings, known)
        return self._resolved
