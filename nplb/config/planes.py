"""What is asked of a frontend that its plane can't do: refused where it is written."""

from nplb.config.sections import Report, Sections
from nplb.model.kernel import PlaneKind
from nplb.model.settings import FrontendSettings, Settings
from nplb.policy.kernel import (
    Unsupported,
    plane_of,
    unsupported_balance,
    unsupported_options,
)

# Keys of an entry that mean nothing to the kernel plane, and why. In general they may stand: they
# are there for frontends of the relay.
_ONE = "the kernel plane gives a client one node"
_CLOCK = "the kernel plane keeps no clock for connections"
_HOLDS = "the kernel holds no client back"
_IGNORED: dict[tuple[str, ...], str] = {
    ("connect_attempts",): _ONE,
    ("timeouts", "connect"): _ONE,
    ("timeouts", "idle"): _CLOCK,
    ("timeouts", "half_closed"): _CLOCK,
    ("timeouts", "queue"): _HOLDS,
    ("timeouts", "hold"): _HOLDS,
    ("timeouts", "keepalive"): _CLOCK,
    ("timeouts", "user"): _CLOCK,
}


def check_planes(settings: Settings, sections: Sections, report: Report) -> None:
    """Tell `report` of every key that the kernel plane can't honour for a frontend on it."""
    if settings.plane is PlaneKind.KERNEL:
        for fault in unsupported_options(settings.relay):
            report(_path(fault), _advise(fault.why))
        # The general default means in turn there; any other one must be possible.
        for fault in unsupported_balance(settings.balance):
            if settings.balance is not Settings(clusters=()).balance:
                report(_path(fault), _advise(fault.why))
    general = _faults(settings, FrontendSettings(service=""))
    for index, frontend in zip(sections.frontends, settings.frontends, strict=True):
        if plane_of(settings, frontend) is not PlaneKind.KERNEL:
            continue
        section = sections.frontends[index]
        own = ("frontends", index)
        for fault in _faults(settings, frontend):
            if _gives(section, _path(fault)):
                report((*own, *_path(fault)), _advise(fault.why))
            elif settings.plane is not PlaneKind.KERNEL and fault in general:
                what = f"the general {fault.key} holds for it too: {fault.why}"
                report((*own, "plane"), f"{what}, write {fault.key} here or set plane: relay")
        for path, why in _IGNORED.items():
            if _gives(section, path):
                report((*own, *path), _advise(why))
        for number, address in enumerate(frontend.listen or ()):
            if address.ip.startswith("127.") or address.ip == "::1":
                what = "packets to a loopback address can't leave this host"
                report((*own, "listen", number), f"{what}, use another address or plane: relay")


def _faults(settings: Settings, frontend: FrontendSettings) -> tuple[Unsupported, ...]:
    found = unsupported_options(frontend.relay or settings.relay)
    if frontend.balance is not None:
        return (*found, *unsupported_balance(frontend.balance))
    if settings.balance is not Settings(clusters=()).balance:
        return (*found, *unsupported_balance(settings.balance))
    return found


def _path(fault: Unsupported) -> tuple[str, ...]:
    return tuple(fault.key.split("."))


def _gives(section: object, path: tuple[str, ...]) -> bool:
    for name in path:
        section = getattr(section, name)
        if section is None:
            return False
    return True


def _advise(why: str) -> str:
    return f"{why}, leave it out or set plane: relay"
