"""The interfaces that have the program at their ingress, by the commands ip and tc.

The program is the only filter of ours: at a preference of its own in the `clsact` qdisc, which
others may use beside it (tc-bpf(8)).
"""

import contextlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nplb.model.errors import HostError

PREFERENCE = "20"
HANDLE = "0x6e706c62"  # "nplb": nobody else's by chance
TIMEOUT_SECONDS = 10.0
# What comes in by the ports of these is seen again on their master.
MASTERS = frozenset({"bridge", "bond", "team"})


@dataclass(frozen=True, slots=True)
class Device:
    """An interface, and its number."""

    name: str
    index: int


def devices() -> tuple[Device, ...]:
    """All interfaces that packets with Ethernet headers come in by, but for ports of another one.

    Not those of bare packets (WireGuard and other tunnels): the kernel can't send these on from a
    program (bpf_redirect_neigh). Errors: HostError.
    """
    return tuple(
        Device(each["ifname"], each["ifindex"])
        for each in _links()
        if each.get("linkinfo", {}).get("info_slave_kind") not in MASTERS
    )


def names() -> tuple[str, ...]:
    """All interfaces that may have been given the program, ports of others too: they may have
    become one since. Errors: HostError."""
    return tuple(each["ifname"] for each in _links())


def attach(device: Device, program: Path) -> None:
    """Put the pinned program there, in the place of an earlier one of ours without a gap."""
    try:
        _run("tc", "qdisc", "add", "dev", device.name, "clsact")
    except HostError as error:
        if "xclusivity" not in str(error) and "exists" not in str(error):
            raise
    _run("tc", "filter", "replace", *_ours(device.name), "bpf", "direct-action", "object-pinned",
         str(program))  # fmt: skip


def attached(device: Device) -> bool:
    """Whether a program of ours is there."""
    return any(_is_ours(each) for each in _filters(device.name, "ingress"))


def detach(name: str) -> bool:
    """Take the program away, and the qdisc with the last filter. Returns whether it was there."""
    filters = _filters(name, "ingress")
    if not any(_is_ours(each) for each in filters):
        return False
    _run("tc", "filter", "delete", *_ours(name), "bpf")
    if not _filters(name, "ingress") and not _filters(name, "egress"):
        with contextlib.suppress(HostError):  # another one's `ingress` may hold them instead
            _run("tc", "qdisc", "delete", "dev", name, "clsact")
    return True


def _links() -> list[dict[str, Any]]:
    found = json.loads(_run("ip", "-j", "-d", "link", "show") or "[]")
    return [each for each in found if each.get("link_type") == "ether"]


def _ours(name: str) -> tuple[str, ...]:
    return ("dev", name, "ingress", "preference", PREFERENCE, "handle", HANDLE, "protocol", "all")


def _filters(name: str, where: str) -> list[dict[str, Any]]:
    """The filters of an interface; none where it has no clsact or is gone. Errors: HostError."""
    try:
        return json.loads(_run("tc", "-j", "filter", "show", "dev", name, where) or "[]") or []
    except HostError as error:
        if "Cannot find device" not in str(error) and "Parent Qdisc" not in str(error):
            raise
        return []


def _is_ours(each: dict[str, Any]) -> bool:
    options = each.get("options") or {}
    name = str((options.get("prog") or {}).get("name", ""))  # which an older tc does not say
    return name.startswith("nplb_") or options.get("handle") == HANDLE


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except FileNotFoundError:
        raise HostError(
            f"the command {command[0]} is not installed: install iproute2, or set "
            "kernel.fast_path: false"
        ) from None
    except subprocess.TimeoutExpired:
        raise HostError(f"{' '.join(command)} did not end") from None
    if done.returncode:
        raise HostError(f"{' '.join(command)}: {done.stderr.strip()[:300]}")
    return done.stdout
