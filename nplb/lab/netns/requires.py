"""What a host must have for the lab in network namespaces, and what must not be in its way."""

import json
import os
import shutil
from ipaddress import IPv4Network

from nplb.lab.netns.namespace import run
from nplb.model.errors import ConfigurationError, HostError, HostPermissionError

_TOOLS = {"ip": "iproute2", "nft": "nftables"}


def require() -> None:
    """Errors: HostPermissionError without root; HostError that names the commands that are
    missing, and the packages that have them."""
    if os.geteuid() != 0:
        raise HostPermissionError(
            "the lab in network namespaces needs root: run it with sudo, or leave --netns out "
            "for a lab on loopback, which needs no right"
        )
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(_TOOLS[tool] for tool in missing)
        raise HostError(
            f"the lab in network namespaces needs {' and '.join(missing)}: install {packages} "
            f"(on Debian: apt-get install {packages}), or leave --netns out"
        )


def require_free(networks: dict[str, IPv4Network]) -> None:
    """Whether addresses of these networks (by what they are for) may be given to the edge.
    Errors: ConfigurationError if one of its interfaces is in them already."""
    for link in json.loads(run("ip", "-j", "-4", "addr", "show") or "[]"):
        for address in link.get("addr_info", ()):
            there = IPv4Network(f"{address['local']}/{address['prefixlen']}", strict=False)
            for what, network in networks.items():
                if there.overlaps(network):
                    raise ConfigurationError(
                        f"{what}: {network} overlaps with {there} on {link['ifname']} of this "
                        "host; choose another one with --network"
                    )
