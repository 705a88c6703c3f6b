"""What a support bundle holds: collected part by part, so that one that fails costs only itself.

No file with secrets is opened for its content, but to know what to take out of everything else.
"""

import gzip
import importlib.metadata
import io
import json
import os
import platform
import re
import stat
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nplb import __version__
from nplb.cli.client import find_admin, get_json, get_text
from nplb.cli.options import DEFAULT_CONFIG
from nplb.model.errors import NplbError
from nplb.model.secrets import HIDDEN, scrubbed
from nplb.model.settings import KubernetesSource, ManifestsSource, Settings

_LIBRARIES = ("aiohttp", "click", "kubernetes-asyncio", "prometheus-client", "pydantic", "PyYAML")
_SYSCTLS = (
    "fs/file-max",
    "fs/file-nr",
    "fs/nr_open",
    "fs/pipe-user-pages-soft",
    "net/core/netdev_max_backlog",
    "net/core/somaxconn",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_unprivileged_port_start",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_max_tw_buckets",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_wmem",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
)
_PROC = ("loadavg", "meminfo", "net/snmp", "net/netstat", "net/sockstat", "pressure/cpu", "version")
_PAGES = {
    "running/status.json": "/api/v1/status",
    "running/decisions.json": "/api/v1/decisions",
    "running/ports.json": "/api/v1/ports",
    "running/drains.json": "/api/v1/drains",
}
_TEXTS = {"running/metrics.txt": "/metrics", "running/readyz.txt": "/readyz?verbose"}
_SECRET_KEY = re.compile(r"(?i)pass|secret|token|credential|private|api_?key")
_KUBECONFIG_SECRET = re.compile(
    r"^\s*-?\s*\"?(?:token|password|client-key-data|id-token|refresh-token|access-token)\"?\s*:"
    r"\s*[\"']?([^\s\"']+)",
    re.MULTILINE,
)
_MAX_SECRET_FILE = 1 << 20
_SHORTEST_SECRET = 6


@dataclass(slots=True)
class Bundle:
    """Files by name, and of what is missing why."""

    files: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def take(self, name: str, make: Callable[[], str]) -> None:
        """Add a file, or note why it could not be had."""
        try:
            self.files[name] = make()
        except (NplbError, OSError, ValueError) as error:
            self.missing[name] = self.clean(str(error).partition("\n")[0])

    def clean(self, text: str) -> str:
        """A text without what is a secret or looks like one."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return scrubbed(text)


def collect(admin: str | None, config: Path | None) -> Bundle:
    """Everything that can be had now."""
    bundle = Bundle()
    path = config if config is not None else DEFAULT_CONFIG
    settings = _configuration(bundle, path)
    bundle.take("versions.json", lambda: _json(_versions()))
    bundle.take("host/limits.json", lambda: _json(_limits()))
    bundle.take("host/sysctl.txt", lambda: "".join(_sysctls()))
    for name in _PROC:
        bundle.take(f"host/{name.replace('/', '-')}.txt", Path("/proc", name).read_text)
    try:
        url = find_admin(admin, config, quiet=True)
    except NplbError as error:
        bundle.missing["running/"] = bundle.clean(str(error).partition("\n")[0])
    else:
        _running(bundle, url)
    if settings is not None:
        bundle.take("files.json", lambda: _json([_file_facts(p) for p in _named_files(settings)]))
    return bundle


def write_bundle(target: Path, bundle: Bundle) -> None:
    """Write the files and a README as one .tar.gz, for its owner's eyes alone. Errors: OSError."""
    files = {"README.txt": _readme(bundle), **bundle.files}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    at = int(time.time())
    root = target.name.partition(".")[0]
    with (
        os.fdopen(os.open(target, flags, 0o600), "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=at) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, text in files.items():
            data = bundle.clean(text).encode("utf-8", "replace")
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size, member.mtime, member.mode = len(data), at, 0o600
            tar.addfile(member, io.BytesIO(data))


def _readme(bundle: Bundle) -> str:
    lines = [
        f"nplb {__version__} support bundle, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}",
        "",
        f"No secret is meant to be in here: {HIDDEN} stands where one was, or what looks like one.",
        "Names and addresses of this host, of nodes and of Services are in it: look before you",
        "send it on.",
        "",
        "Here:",
        *(f"  {name}" for name in sorted(bundle.files)),
    ]
    if bundle.missing:
        lines += ["", "Missing:", *(f"  {name}: {why}" for name, why in bundle.missing.items())]
    return "\n".join([*lines, ""])


# -- the configuration --------------------------------------------------------------------------


def _configuration(bundle: Bundle, path: Path) -> Settings | None:
    from nplb.config import InvalidConfiguration
    from nplb.config.dump import dump
    from nplb.config.load import load_configuration, setting_variables
    from nplb.config.yaml import compose
    from nplb.web.render import render

    def as_written() -> str:
        documents, problems = compose(path.read_bytes(), file=str(path))
        if problems or not documents:
            raise ValueError(f"{path} is not YAML, so nothing of it is shown")
        return dump(_without_secrets(documents[0].value))

    # A file that is no YAML could hold anything; one that is is shown by its values alone, since
    # comments are where people keep what they should not.
    bundle.take("configuration/file.yaml", as_written)
    variables = {name: os.environ[name] for name in setting_variables() if name in os.environ}
    bundle.files["configuration/environment.json"] = _json(_without_secrets(variables))
    try:
        configuration = load_configuration(path)
    except InvalidConfiguration as error:
        problems = [asdict(problem) for problem in error.errors]
        bundle.files["configuration/check.json"] = _json({"valid": False, "errors": problems})
        return None
    except (NplbError, OSError) as error:
        bundle.missing["configuration/"] = str(error)
        return None
    settings = configuration.settings
    bundle.secrets |= set(_known_secrets(settings))

    def checked() -> str:
        from nplb.cli.host import host_notes, read_host_facts

        notes = [asdict(note) for note in host_notes(settings, read_host_facts())]
        warnings = [asdict(warning) for warning in configuration.warnings]
        return _json({"valid": True, "warnings": warnings, "host": notes})

    bundle.take("configuration/check.json", checked)
    bundle.take("configuration/settings.json", lambda: _json(render(settings)))
    return settings


def _without_secrets(value: Any, key: str = "") -> Any:
    """A value of the file, without those whose key says that they are secrets. What names a file
    is none."""
    if isinstance(value, Mapping):
        return {name: _without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item, key) for item in value]
    is_path = key.endswith(("_file", "_FILE", "_dir", "cert", "key"))
    return HIDDEN if _SECRET_KEY.search(key) and not is_path else value


def _secret_files(settings: Settings) -> Iterator[Path]:
    admin = settings.admin
    for path in (admin.token_file, admin.read_token_file):
        if path is not None:
            yield path
    for cluster in settings.clusters:
        if isinstance(cluster.source, KubernetesSource) and cluster.source.kubeconfig is not None:
            yield cluster.source.kubeconfig


def _known_secrets(settings: Settings) -> Iterator[str]:
    """What stands in the files of secrets, as far as it may be read: to be taken out."""
    for path in _secret_files(settings):
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_SECRET_FILE).decode("utf-8", "replace")
        except OSError:
            continue
        if path in (settings.admin.token_file, settings.admin.read_token_file):
            found: Iterable[str] = text.split()
        else:
            found = _KUBECONFIG_SECRET.findall(text)
        yield from (secret for secret in found if len(secret) >= _SHORTEST_SECRET)


def _named_files(settings: Settings) -> Iterator[Path]:
    yield from _secret_files(settings)
    tls = settings.admin.tls
    others = [settings.state_dir, settings.log.access_file]
    if tls is not None:
        others += [tls.cert, tls.key, tls.client_ca]
    yield from (path for path in others if path is not None)
    for cluster in settings.clusters:
        if isinstance(cluster.source, ManifestsSource):
            yield from map(Path, cluster.source.paths)
    if settings.state_dir is not None and settings.state_dir.is_dir():
        yield from sorted(settings.state_dir.iterdir())


def _file_facts(path: Path) -> dict[str, Any]:
    """What `ls -l` says of a file."""
    try:
        found = path.stat()
    except OSError as error:
        return {"path": str(path), "error": error.strerror}
    return {
        "path": str(path),
        "mode": stat.filemode(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "bytes": found.st_size,
        "changed": found.st_mtime,
    }


# -- this host ----------------------------------------------------------------------------------


def _versions() -> dict[str, Any]:
    return {
        "nplb": __version__,
        "installed_in": str(Path(__file__).parents[1]),
        "python": sys.version,
        "platform": platform.platform(),
        "os": platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {},
        "libraries": {name: _library(name) for name in _LIBRARIES},
    }


def _library(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _limits() -> dict[str, Any]:
    import resource

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "uid": os.geteuid(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "of_this_command": {
            name: resource.getrlimit(getattr(resource, name)) for name in sorted(names)
        },
    }


def _sysctls() -> Iterator[str]:
    for name in _SYSCTLS:
        try:
            value = " ".join(Path("/proc/sys", name).read_text().split())
        except OSError as error:
            value = f"({error.strerror})"
        yield f"{name.replace('/', '.')} = {value}\n"


# -- what runs ----------------------------------------------------------------------------------


def _running(bundle: Bundle, url: str) -> None:
    for name, page in _PAGES.items():
        bundle.take(name, lambda page=page: _json(get_json(url, page)))  # type: ignore[misc]
        if name in bundle.missing and not any(n.startswith("running/") for n in bundle.files):
            # Who does not answer once is not asked five times more.
            bundle.missing["running/"] = bundle.missing.pop(name)
            return
    for name, page in _TEXTS.items():
        bundle.take(name, lambda page=page: get_text(url, page))  # type: ignore[misc]
    status = json.loads(bundle.files.get("running/status.json", "{}"))
    bundle.files["running/findings.json"] = _json(status.get("findings", []))
    bundle.files["running/plan.json"] = _json(status.get("plan", {}))
    for worker in (status.get("traffic") or {}).get("workers", ()):
        pid = int(worker.get("pid", 0))
        for kind in ("limits", "status"):
            path = Path(f"/proc/{pid}/{kind}")
            bundle.take(f"running/worker-{worker.get('worker')}-{kind}.txt", path.read_text)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"
