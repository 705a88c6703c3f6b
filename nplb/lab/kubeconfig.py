"""The lab's kubeconfig: a file of its own, written whole or not at all, readable by its owner.

It is never merged into another file. It also tells `nplb lab fault` where the lab is.
"""

import base64
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nplb.config.yaml import YamlError, parse
from nplb.model.errors import ConfigurationError

DEFAULT_PATH = Path(".nplb/lab.kubeconfig")
NAME = "nplb-lab"
_EXTENSION = "lab.nplb.io"
_MARK = "# Written by `nplb lab`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where an API server is, and what opens it. `ca_pem` is empty for plain HTTP; `control_url`
    is where the lab is controlled, also while the API server is down."""

    url: str
    token: str
    ca_pem: str = ""
    control_url: str = ""


def write_kubeconfig(path: Path, access: Access) -> None:
    """Write the file, mode 0600, in one step: nobody ever reads half of it. Missing directories
    are made. Raises ConfigurationError if it cannot be written, or if a file is there that no
    lab has written."""
    certificate = ""
    if access.ca_pem:
        data = base64.b64encode(access.ca_pem.encode()).decode()
        certificate = f"    certificate-authority-data: {data}\n"
    extension = ""
    if access.control_url:
        extension = (
            "    extensions:\n"
            f"    - name: {_EXTENSION}\n"
            "      extension:\n"
            f"        control: {access.control_url}\n"
        )
    text = (
        f"{_MARK}, and removed when it stops.\n"
        "apiVersion: v1\n"
        "kind: Config\n"
        "clusters:\n"
        f"- name: {NAME}\n"
        "  cluster:\n"
        f"    server: {access.url}\n"
        f"{certificate}{extension}"
        "users:\n"
        f"- name: {NAME}\n"
        "  user:\n"
        f"    token: {access.token}\n"
        "contexts:\n"
        f"- name: {NAME}\n"
        "  context:\n"
        f"    cluster: {NAME}\n"
        f"    user: {NAME}\n"
        "    namespace: default\n"
        f"current-context: {NAME}\n"
    )
    if not _is_ours(path):
        raise ConfigurationError(
            f"{path} is there already, and no lab has written it; name another place for the "
            "lab's own kubeconfig with --kubeconfig"
        )
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        scratch.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise ConfigurationError(
            f"the kubeconfig cannot be written to {path}: {error.strerror}; "
            "name another place with --kubeconfig"
        ) from None


def _is_ours(path: Path) -> bool:
    """Whether a file may be overwritten: it is a lab's, or there is none."""
    try:
        return path.read_text(errors="replace").startswith(_MARK)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def remove_kubeconfig(path: Path, access: Access) -> None:
    """Remove the file, if it still is the one written for this access."""
    try:
        if f"token: {access.token}\n" in path.read_text():
            path.unlink()
    except OSError:
        return


def find_kubeconfig(given: Path | None, environment: Mapping[str, str]) -> Path:
    """The kubeconfig of the lab that a command is about: the one given, or else the file that
    KUBECONFIG names if a lab has written it, or else the usual one."""
    if given is not None:
        return given
    named = environment.get("KUBECONFIG", "")
    if named and Path(named).is_file() and _is_ours(Path(named)):
        return Path(named)
    return DEFAULT_PATH


def read_kubeconfig(path: Path) -> Access:
    """What a lab has written. Raises ConfigurationError if there is none, or it is not one."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ConfigurationError(
            f"no lab runs here: {path} does not exist; start one with `nplb lab`, or name its "
            "file with --kubeconfig"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    try:
        value: Any = parse(text, file=str(path))[0].value
        cluster = value["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster.get("certificate-authority-data", "")).decode()
        extensions = {one["name"]: one["extension"] for one in cluster.get("extensions", ())}
        return Access(
            url=str(cluster["server"]),
            token=str(value["users"][0]["user"]["token"]),
            ca_pem=ca,
            control_url=str(extensions.get(_EXTENSION, {}).get("control", "")),
        )
    except (YamlError, LookupError, TypeError, AttributeError, ValueError):
        raise ConfigurationError(
            f"{path} is not a kubeconfig that `nplb lab` has written; name that with --kubeconfig"
        ) from None
