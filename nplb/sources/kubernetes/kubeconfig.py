"""Finds where the API server is and what proves who we are: kubeconfig files, or the Pod's own.

Reads and chooses only; `credentials` turns the result into what a client takes. The rules are
client-go's (`tools/clientcmd`): several files in KUBECONFIG are merged and the first to say
something wins, relative paths belong to the file that holds them. Errors name the file, the
context and the field, and never show a value: it may be a credential.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nplb.config.yaml import YamlError, parse
from nplb.model.errors import ConfigurationError
from nplb.model.settings import KubernetesSource

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_CLUSTER_PATHS = ("certificate-authority",)
_USER_PATHS = ("client-certificate", "client-key", "tokenFile")
_IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One API server and one identity, as kubeconfig words them. All paths are absolute.

    `origin` says where this comes from, for errors. `cluster` and `user` may hold credentials,
    which is why they don't show in a repr.
    """

    origin: str
    server: str
    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)


def find_access(
    source: KubernetesSource,
    *,
    environ: Mapping[str, str] | None = None,
    service_account: Path = SERVICE_ACCOUNT,
) -> Access:
    """The API server and identity that a configured source means.

    In this order: the configured kubeconfig; the files that KUBECONFIG lists; the Pod's service
    account; ~/.kube/config.

    Errors: ConfigurationError saying what is missing or wrong, in which file, and what to do.
    """
    environ = os.environ if environ is None else environ
    if source.kubeconfig is not None:
        return _from_files([source.kubeconfig.expanduser()], source.context, explicit=True)
    listed = environ.get("KUBECONFIG", "")
    if listed:
        paths = [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
        return _from_files(paths, source.context, explicit=False)
    if environ.get("KUBERNETES_SERVICE_HOST") and (service_account / "token").exists():
        return _in_cluster(environ, service_account)
    home = Path(environ.get("HOME", "") or Path.home())
    return _from_files([home / ".kube" / "config"], source.context, explicit=True)


def _in_cluster(environ: Mapping[str, str], service_account: Path) -> Access:
    """As client-go `rest.InClusterConfig`."""
    host = environ["KUBERNETES_SERVICE_HOST"]
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    authority = str(service_account / "ca.crt")
    return Access(
        origin=f"the service account in {service_account}",
        server=server,
        cluster={"server": server, "certificate-authority": authority},
        user={"tokenFile": str(service_account / "token")},
    )


class _Entries:
    """The named entries of all files: what each holds, and the file it stands in."""

    def __init__(self, kind: str, inner: str) -> None:
        self.kind = kind
        self.inner = inner
        self.found: dict[str, tuple[Path, Mapping[str, Any]]] = {}

    def read(self, path: Path, document: Mapping[str, Any]) -> None:
        entries = document.get(self.kind)
        if entries is None:
            return
        if not isinstance(entries, list):
            raise _wrong(path, f"{self.kind} must be a list")
        for index, entry in enumerate(entries):
            at = f"{self.kind}[{index}]"
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise _wrong(path, f"{at} must have a name")
            inner = entry.get(self.inner)
            if inner is None:
                inner = {}
            if not isinstance(inner, dict):
                raise _wrong(path, f"{at}.{self.inner} must be a mapping")
            self.found.setdefault(entry["name"], (path, inner))


def _from_files(paths: list[Path], context: str | None, *, explicit: bool) -> Access:
    contexts = _Entries("contexts", "context")
    clusters = _Entries("clusters", "cluster")
    users = _Entries("users", "user")
    current = ""
    read = 0
    for path in paths:
        document = _read(path, must_exist=explicit)
        if document is None:
            continue
        read += 1
        for entries in (contexts, clusters, users):
            entries.read(path, document)
        named = document.get("current-context")
        if not current and isinstance(named, str):
            current = named
    where = os.pathsep.join(map(str, paths))
    if not read:
        raise ConfigurationError(
            f"kubeconfig {where} does not exist: check KUBECONFIG, or give the path of a "
            "kubeconfig in the configuration"
        )
    return _choose(where, context, current, contexts, clusters, users)


def _choose(
    where: str,
    context: str | None,
    current: str,
    contexts: _Entries,
    clusters: _Entries,
    users: _Entries,
) -> Access:
    known = ", ".join(sorted(contexts.found)) or "none"
    name = context or current
    if not name:
        raise ConfigurationError(
            f"kubeconfig {where} has no current-context: name one of its contexts in the "
            f"configuration; it has: {known}"
        )
    if name not in contexts.found:
        what = "context" if context else "current-context"
        raise ConfigurationError(
            f"kubeconfig {where} has no context {name!r}, which is the {what} asked for; "
            f"it has: {known}"
        )
    path, chosen = contexts.found[name]
    cluster_name, user_name = chosen.get("cluster"), chosen.get("user")
    if not isinstance(cluster_name, str) or cluster_name not in clusters.found:
        raise _wrong(path, f"context {name} names a cluster that is not among its clusters")
    cluster_path, cluster = clusters.found[cluster_name]
    user_path = path
    user: Mapping[str, Any] = {}
    if user_name:
        if not isinstance(user_name, str) or user_name not in users.found:
            raise _wrong(path, f"context {name} names a user that is not among its users")
        user_path, user = users.found[user_name]
    server = cluster.get("server")
    if not isinstance(server, str) or not _is_http(server):
        at = f"cluster {cluster_name}: server"
        raise _wrong(cluster_path, f"{at} must be an address such as https://192.0.2.1:6443")
    if "@" in urlsplit(server).netloc:
        at = f"cluster {cluster_name}: server"
        raise _wrong(
            cluster_path, f"{at} holds a name or password: put them into the user, as username"
        )
    for key in _IMPERSONATION:
        if user.get(key):
            at = f"user {user_name}: {key}"
            raise _wrong(user_path, f"{at}: nplb does not impersonate, give it its own user")
    return Access(
        origin=f"kubeconfig {cluster_path}, context {name}",
        server=server.rstrip("/"),
        cluster=_absolute(cluster, _CLUSTER_PATHS, cluster_path),
        user=_absolute_user(user, user_path),
    )


def _is_http(server: str) -> bool:
    try:
        parts = urlsplit(server)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _absolute(entry: Mapping[str, Any], keys: tuple[str, ...], file: Path) -> dict[str, Any]:
    """Paths relative to the kubeconfig's directory become absolute."""
    result = dict(entry)
    for key in keys:
        value = result.get(key)
        if isinstance(value, str) and value:
            result[key] = str(file.absolute().parent / value)
    return result


def _absolute_user(user: Mapping[str, Any], file: Path) -> dict[str, Any]:
    result = _absolute(user, _USER_PATHS, file)
    plugin = result.get("exec")
    # A bare name is looked up on PATH.
    if isinstance(plugin, dict) and os.sep in str(plugin.get("command", "")):
        result["exec"] = _absolute(plugin, ("command",), file)
    return result


def _read(path: Path, *, must_exist: bool) -> Mapping[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise ConfigurationError(
                f"kubeconfig {path} does not exist: give the path of a kubeconfig in the "
                "configuration, or make one there (deploy/rbac/README.md shows how)"
            ) from None
        return None
    except PermissionError:
        raise ConfigurationError(
            f"kubeconfig {path} can't be read: permission denied; let the user that nplb runs "
            "as read it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"kubeconfig {path} can't be read: {what}") from None
    try:
        documents = parse(text, file=str(path))
    except YamlError as error:
        # Only the place: the message may quote the line, and the line may be a token.
        raise ConfigurationError(
            f"kubeconfig {error.mark}: this is not valid YAML; compare with what "
            f"`kubectl config view --kubeconfig {path}` says"
        ) from None
    value = documents[0].value if documents else None
    if not isinstance(value, dict):
        raise _wrong(path, "it must be a mapping with clusters, users and contexts")
    return value


def _wrong(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(f"kubeconfig {path} is not usable: {problem}")
