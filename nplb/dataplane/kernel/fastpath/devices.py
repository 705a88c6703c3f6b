"""The interfaces that have the program at their ingress, by a link or by the command tc.

A **link** (tcx, Linux 6.6) is pinned beside the program, and goes with its pin: nothing is at an
interface for which there is none. It costs a packet least, and comes before all filters of tc. So
where there are others' filters, and on older kernels, the program is one of them: at a preference
of its own in the `clsact` qdisc (tc-bpf(8)).
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nplb.dataplane.kernel.fastpath import bpf
from nplb.model.errors import HostError

PREFERENCE = "20"
HANDLE = "0x6e706c62"  # "nplb": nobody else's by chance
TIMEOUT_SECONDS = 10.0
# What comes in by the ports of these is seen again on their master.
MASTERS = frozenset({"bridge", "bond", "team"})
_LINK = "link-"  # and the interface's number: a pin's name


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


def everything() -> tuple[Device, ...]:
    """All interfaces that may have been given the program, ports of others too: they may have
    become one since. Errors: HostError."""
    return tuple(Device(each["ifname"], each["ifindex"]) for each in _links())


def attach(device: Device, program: Path) -> None:
    """Put the pinned program there, in the place of an earlier one of ours without a gap."""
    filters = _filters(device.name, "ingress")
    if not any(map(_is_others, filters)) and _link(device, program):
        if filters:  # an earlier version's, or from when there were others'
            _delete_filter(device.name)
        return
    try:
        _run("tc", "qdisc", "add", "dev", device.name, "clsact")
    except HostError as error:
        if "xclusivity" not in str(error) and "exists" not in str(error):
            raise
    _run("tc", "filter", "replace", *_ours(device.name), "bpf", "direct-action", "object-pinned",
         str(program))  # fmt: skip
    _unlink(link_of(device, program.parent))


def attached(device: Device, folder: Path) -> bool:
    """Whether a program of ours is there. `folder` has its pins."""
    return _is_linked(device, folder) or any(map(_is_ours, _filters(device.name, "ingress")))


def detach(device: Device, folder: Path) -> None:
    """Take the program away. `folder` has its pins."""
    _delete_filter(device.name)
    _unlink(link_of(device, folder))


def link_of(device: Device, folder: Path) -> Path:
    """Where an interface's link is pinned, if it has one."""
    return folder / f"{_LINK}{device.index}"


def links(folder: Path) -> frozenset[Path]:
    """The pins of all links."""
    return frozenset(folder.glob(f"{_LINK}*"))


def leave_others(kept: Iterable[Device], folder: Path) -> None:
    """Take the program off all interfaces but these: what is gone, or another one's port by now."""
    for pin in links(folder) - {link_of(device, folder) for device in kept}:
        _unlink(pin)


def _unlink(pin: Path) -> None:
    """Take a link off its interface, if it is there. Without its pin it would go, too, but when the
    kernel has time for that."""
    try:
        link = bpf.pinned(pin)
    except FileNotFoundError:
        return
    try:
        bpf.unlink(link)
    finally:
        os.close(link)
    pin.unlink(missing_ok=True)


def _link(device: Device, program: Path) -> bool:
    """Whether a link could be made, or has been given this program."""
    pin = link_of(device, program.parent)
    with contextlib.ExitStack() as stack:
        descriptor = bpf.pinned(program)
        stack.callback(os.close, descriptor)
        if _is_linked(device, program.parent):
            link = bpf.pinned(pin)
            stack.callback(os.close, link)
            bpf.relink(link, descriptor)
            return True
        _unlink(pin)
        try:
            link = bpf.link(descriptor, device.index)
        except bpf.UnknownToKernelError:
            return False
        stack.callback(os.close, link)
        bpf.pin(link, pin)
        return True


def _is_linked(device: Device, folder: Path) -> bool:
    """Whether its link is there, and not only the pin of one that was, or that is at an interface
    which has gone to another network namespace and kept its number."""
    try:
        link = bpf.pinned(link_of(device, folder))
    except FileNotFoundError:
        return False
    try:
        return bpf.link_number(link) in bpf.links_at(device.index)
    finally:
        os.close(link)


def _delete_filter(name: str) -> None:
    """Take our filter away, if it is there, and the qdisc with the last one."""
    if not any(map(_is_ours, _filters(name, "ingress"))):
        return
    _run("tc", "filter", "delete", *_ours(name), "bpf")
    if not _filters(name, "ingress") and not _filters(name, "egress"):
        with contextlib.suppress(HostError):  # another one's `ingress` may hold them instead
            _run("tc", "qdisc", "delete", "dev", name, "clsact")


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


def _is_others(each: dict[str, Any]) -> bool:
    """Each preference is shown before its filters, without options."""
    return each.get("pref") != int(PREFERENCE) or ("options" in each and not _is_ours(each))


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
