"""`nplb check`: the file, what it names, and what this host lacks."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from nplb.cli.host import HostFacts, HostNote, host_notes, read_host_facts
from nplb.config import load_settings
from nplb.dataplane.kernel.host import Host
from nplb.model.settings import Settings
from tests.support.users import as_ordinary_user, make_open_dir

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
"""


def check(*args: str) -> Result:
    env = {"NPLB_CONFIG": None, "NPLB_OUTPUT": None, "KUBECONFIG": None}
    return CliRunner().invoke(main, ["check", *args], env=env)


@pytest.fixture
def place() -> Iterator[Path]:
    with make_open_dir() as path:
        (path / "services.yaml").write_text(SERVICE)
        yield path


def write(place: Path, text: str) -> str:
    path = place / "nplb.yaml"
    path.write_text(text)
    return str(path)


def test_a_valid_configuration(place: Path) -> None:
    path = write(place, "clusters: [{name: lab, manifests: services.yaml}]\n")
    result = check("--config", path)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].startswith(
        f"{path}: valid (1 cluster, 0 frontend overrides)"
    )
    assert "error" not in result.output
    assert check(path).output == result.output


def test_the_file_is_named_once(place: Path) -> None:
    path = write(place, "clusters: [{name: lab, manifests: services.yaml}]\n")
    both = check(path, "--config", path)
    assert both.exit_code == 2
    assert "not both" in both.stderr
    env = {"NPLB_CONFIG": str(place / "absent.yaml")}
    assert CliRunner().invoke(main, ["check", path], env=env).exit_code == 0


def test_what_is_found_is_counted(place: Path) -> None:
    path = write(
        place,
        "clusters: [{name: lab, manifests: services.yaml}]\n"
        "limits: {queue: 5}\n"
        "listen: {addresses: [192.0.2.77]}\n",
    )
    lines = check(path).output.splitlines()
    assert lines[0].startswith(f"warning: {path}:2:17: limits.queue: nobody waits")
    lacking = [line for line in lines if line.startswith("host: ")]
    assert any("192.0.2.77 is no address of this host" in line for line in lacking)
    things = "1 thing" if len(lacking) == 1 else f"{len(lacking)} things"
    assert lines[-1].endswith(f"overrides), 1 warning, {things} this host lacks")


def test_what_would_be_left_out_of_manifests_is_a_note(place: Path) -> None:
    other = SERVICE.replace("name: web", "name: other")
    secret = "apiVersion: v1\nkind: Secret\n"
    (place / "services.yaml").write_text(f"{SERVICE}---\n{other}---\n{secret}")
    path = write(place, "clusters: [{name: lab, manifests: services.yaml}]\n")
    result = check(path, "-o", "json")
    notes = [note["message"] for note in json.loads(result.output)["notes"]]
    assert notes[0].startswith(f'{place / "services.yaml"}:6:1: Service "other" is invalid: ')
    assert "provided port is already allocated" in notes[0]
    assert notes[1:] == ["objects of other kinds are left out: Secret (1)"]
    assert result.exit_code == 0
    assert f"note: cluster lab: {notes[0]}" in check(path).output


def test_every_error_is_told_at_once(place: Path) -> None:
    path = write(place, "clusters:\n  - {name: Lab}\nhelth: {}\nworkers: many\n")
    result = check("--config", path)
    assert result.exit_code == 78
    lines = result.output.splitlines()
    assert lines[0].startswith(f'error: {path}:2:12: clusters[0].name: "Lab" is not a name here')
    assert lines[1] == f'error: {path}:3:1: helth: unknown key, did you mean "health"?'
    assert lines[2].startswith(f"error: {path}:4:10: workers: must be auto or a number")
    assert lines[3] == f"{path}: 3 errors"


def test_json_has_every_error_as_a_value(place: Path) -> None:
    path = write(place, "clusters: [{name: lab, manifests: services.yaml}]\nhelth: {}\n")
    result = check("--config", path, "-o", "json")
    assert result.exit_code == 78
    document = json.loads(result.output)
    assert document["valid"] is False
    assert document["errors"] == [
        {
            "file": path,
            "line": 2,
            "column": 1,
            "path": "helth",
            "message": 'unknown key, did you mean "health"?',
        }
    ]
    path = write(place, "clusters: [{name: lab, manifests: services.yaml}]\n")
    document = json.loads(check("--config", path, "-o", "json").output)
    assert document["valid"] is True
    assert (document["errors"], document["warnings"], document["sources"]) == ([], [], [])
    assert (document["clusters"], document["frontends"]) == (["lab"], 0)


def test_what_the_file_names_is_read_too(place: Path) -> None:
    (place / "broken.yaml").write_text("kind: Service\nmetadata: [\n")
    (place / "kubeconfig").write_text("not: a kubeconfig\n")
    path = write(
        place,
        "clusters:\n"
        "  - {name: a, manifests: broken.yaml}\n"
        "  - {name: b, kubernetes: {kubeconfig: kubeconfig}}\n"
        "  - {name: c, kubernetes: {kubeconfig: absent}}\n"
        "  - {name: d, manifests: '*.json'}\n",
    )
    result = check("--config", path)
    assert result.exit_code == 78
    lines = result.output.splitlines()
    for cluster, part in [
        ("a", "broken.yaml"),
        ("b", "kubeconfig"),
        ("c", "absent does not exist"),
        ("d", "no file matches this pattern"),
    ]:
        assert any(
            line.startswith(f"error: cluster {cluster}: ") and part in line for line in lines
        )
    assert not any(line.startswith("warning") for line in lines)
    alone = check("--config", path, "--file-only")
    assert alone.exit_code == 0
    assert alone.output.count("warning: ") == 2


def test_a_file_that_may_not_be_read(place: Path) -> None:
    path = write(place, "clusters: [{name: lab, manifests: services.yaml}]\n")
    assert check("--config", path).exit_code == 0
    Path(path).chmod(0)
    with as_ordinary_user():
        result = check("--config", path)
    assert result.exit_code == 77
    assert result.stderr.startswith(f"nplb: {path}: may not be read by this user")


def settings_of(place: Path, more: str) -> Settings:
    path = write(place, f"clusters: [{{name: lab, manifests: services.yaml}}]\n{more}\n")
    return load_settings(path, env={})


READY = Host(
    net_admin=True, nft=True, nf_tables=True, conntrack=True, forwarding4=True, forwarding6=True
)
BARE = Host(
    net_admin=False, nft=False, nf_tables=True, conntrack=True, forwarding4=True, forwarding6=False
)
PLENTY = HostFacts(open_ports_from=1024, may_bind_low=True, max_files=1_000_000, kernel=READY)
FAST_TOO = replace(PLENTY, kernel=replace(READY, bpf=True, tc=True, bpffs=True, pins=True))
POOR = HostFacts(open_ports_from=1024, may_bind_low=False, max_files=1024, kernel=BARE)


def notes(settings: Settings, facts: HostFacts) -> list[tuple[str, str]]:
    return [(note.subject, note.message) for note in host_notes(settings, facts)]


def test_a_host_that_has_everything(place: Path) -> None:
    settings = settings_of(place, "frontends: [{service: a/b, listen: '127.0.0.1:443'}]")
    assert notes(settings, PLENTY) == []


def test_ports_that_need_a_right(place: Path) -> None:
    settings = settings_of(
        place,
        "frontends:\n"
        "  - {service: a/b, listen: ['127.0.0.1:443', '127.0.0.1:1024']}\n"
        "admin: {listen: '127.0.0.1:90'}\n"
        "listen: {port: service}\n",
    )
    found = notes(settings, POOR)
    assert [subject for subject, _ in found] == [
        "frontends[0].listen",
        "admin.listen",
        "listen.port",
        "workers",
    ]
    assert "may not listen on 127.0.0.1:443: run it with CAP_NET_BIND_SERVICE" in found[0][1]
    assert "net.ipv4.ip_unprivileged_port_start" in found[0][1]
    assert "Services' ports below 1024" in found[2][1]
    opened = replace(PLENTY, open_ports_from=90, may_bind_low=False)
    assert [subject for subject, _ in notes(settings, opened)] == ["listen.port"]


@pytest.mark.parametrize(
    ("more", "subject", "lacks"),
    [
        ("", None, []),
        ("plane: kernel", "plane", ["the command nft", "the right CAP_NET_ADMIN"]),
        (
            "frontends: [{service: a/b, plane: kernel, listen: '[::]:80'}]",
            "frontends[0].plane",
            ["the command nft", "the right CAP_NET_ADMIN", "forwarding of IPv6"],
        ),
    ],
)
def test_what_the_kernel_plane_wants(
    place: Path, more: str, subject: str | None, lacks: list[str]
) -> None:
    settings = settings_of(place, more)
    needed = [note for note in host_notes(settings, POOR) if note.needed]
    assert {note.subject for note in needed} == ({subject} if subject else set())
    assert [note.message.split(": ")[0] for note in needed] == [
        f"the kernel plane lacks {what}" for what in lacks
    ]
    assert not [note for note in host_notes(settings, PLENTY) if note.needed]


def test_what_is_to_be_known_where_nodes_see_clients_addresses(place: Path) -> None:
    strict = replace(PLENTY, kernel=replace(READY, strict_rp_filter=("eth1",)))
    keeping = "plane: kernel\nkernel: {masquerade: false}"
    assert notes(settings_of(place, keeping.replace("false", "true")), strict) == []
    assert notes(settings_of(place, "kernel: {masquerade: false}"), strict) == []
    (way, filtered) = notes(settings_of(place, keeping), strict)
    assert way[0] == "kernel.masquerade"
    assert "send their answers back through this host" in way[1]
    assert "strict on eth1" in filtered[1]
    one = "frontends: [{service: a/b, plane: kernel, kernel: {masquerade: false}}]"
    found = list(host_notes(settings_of(place, one), PLENTY))
    assert [note.subject for note in found] == ["frontends[0].kernel.masquerade"]
    assert not found[0].lacking


FAST = "plane: kernel\nkernel: {fast_path: true}\n"
SOME_FAST = (
    f"{FAST}limits: {{per_client: 5}}\n"
    "frontends:\n"
    "  - {service: a/b, limits: {per_client: off}}\n"
    "  - {service: a/c, balance: maglev}\n"
    "  - {service: a/d, kernel: {masquerade: false}}\n"
    "  - {service: a/e, kernel: {fast_path: false}}\n"
)
ONE_PORT_FAST = """
frontends:
  - {service: a/b, plane: kernel, denied_ranges: 192.0.2.0/24}
  - {service: 'a/b:http', kernel: {fast_path: true}}
"""


@pytest.mark.parametrize(
    ("more", "asks", "beside"),
    [
        ("kernel: {fast_path: true}", False, []),  # of no frontend
        (FAST, True, []),
        (f"{FAST}frontends: [{{service: a/b, affinity: 60s}}]", True, ["frontends[0] affinity"]),
        (
            SOME_FAST,
            True,
            [
                "frontends[2] kernel.masquerade, limits.per_client",
                "kernel, frontends[1] limits.per_client",
            ],
        ),
        (ONE_PORT_FAST, True, ["frontends[1] denied_ranges"]),
    ],
)
def test_what_the_fast_path_wants_and_what_goes_beside_it(
    place: Path, more: str, asks: bool, beside: list[str]
) -> None:
    settings = settings_of(place, more)
    lacks = [n.message for n in host_notes(settings, PLENTY) if n.needed]
    assert bool(lacks) == asks
    assert all("kernel.fast_path: " in text for text in lacks)
    found = [n for n in host_notes(settings, FAST_TOO) if n.subject == "kernel.fast_path"]
    assert not any(note.needed or note.lacking for note in found)
    where = ": frontends go through nftables, not the fast path, for"
    assert [note.message.replace(where, "") for note in found] == beside


def test_a_host_that_cannot_run_it_at_all_is_a_matter_of_rights(place: Path) -> None:
    path = write(place, f"clusters: [{{name: lab, manifests: services.yaml}}]\n{FAST}")
    check("--config", path)
    with as_ordinary_user():
        result = check("--config", path)
    assert result.exit_code == 77
    for right in ("right CAP_NET_ADMIN", "rights CAP_BPF and CAP_PERFMON"):
        assert f"host: plane: the kernel plane lacks the {right}" in result.output
    assert check("--config", path, "--file-only").exit_code == 0


def test_few_descriptors(place: Path) -> None:
    ((subject, message),) = notes(settings_of(place, ""), POOR)
    assert subject == "workers"
    assert "1024 file descriptors, which is about 256 connections: raise the limit" in message


def foreign_ips(count: int) -> list[str]:
    """Addresses for documentation that this host does not happen to have."""
    found = []
    for number in range(1, 255):
        with socket.socket() as sock:
            try:
                sock.bind((f"203.0.113.{number}", 0))
            except OSError:
                found.append(f"203.0.113.{number}")
    return found[:count]


def test_addresses_of_another_host(place: Path) -> None:
    one, two, three, four = foreign_ips(4)
    settings = settings_of(
        place,
        f"listen: {{addresses: [127.0.0.1, {one}]}}\n"
        f"frontends: [{{service: a/b, listen: '{two}:80', source_addresses: {four}}}]\n"
        f"source_addresses: [127.0.0.1, {three}]\n",
    )
    assert notes(settings, PLENTY) == [
        (subject, f"{ip} is no address of this host: add it to an interface, or correct it")
        for subject, ip in [
            ("listen.addresses", one),
            ("frontends[0].listen", two),
            ("source_addresses", three),
            ("frontends[0].source_addresses", four),
        ]
    ]


def test_a_state_directory_that_may_not_be_written(place: Path) -> None:
    settings = settings_of(place, "state_dir: state/deep")
    assert notes(settings, PLENTY) == []
    with as_ordinary_user():
        found = list(host_notes(settings, PLENTY))
    if os.geteuid() == 0:
        assert found == [
            HostNote(
                subject="state_dir",
                message=f"this user may not write in {place}: change its owner, or name another",
            )
        ]


def test_the_facts_of_this_host() -> None:
    facts = read_host_facts()
    assert 0 <= facts.open_ports_from <= 65535
    assert facts.max_files > 0
    with as_ordinary_user():
        assert not read_host_facts().may_bind_low


def test_no_color_is_honoured(place: Path) -> None:
    path = write(place, "clusters: [{name: lab, manifests: services.yaml}]\n")
    args = ["check", "--file-only", "--config", path]
    coloured = CliRunner().invoke(main, args, color=True, env={"NO_COLOR": None})
    assert "\x1b[32mvalid\x1b[0m" in coloured.output
    plain = CliRunner().invoke(main, args, color=True, env={"NO_COLOR": "1"})
    assert "\x1b" not in plain.output
    assert "\x1b" not in CliRunner().invoke(main, args).output
