"""The configuration: settings, or every error at once with its place and what to do."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nplb.config import InvalidConfiguration, load_settings
from nplb.config.load import (
    FLAG_VARIABLES,
    Configuration,
    load_configuration,
    setting_variables,
)
from nplb.model.errors import HostPermissionError
from nplb.model.kernel import KernelOptions, PlaneKind, Refusal
from nplb.model.keys import Address
from nplb.model.plan import Timeouts
from nplb.model.reasons import Balance
from nplb.model.relay import Leave, NoBackend, RelayOptions, SendProxy
from nplb.model.settings import EdgePort, KubernetesSource, ManifestsSource, Settings
from tests.support.users import as_ordinary_user, make_open_dir

Load = Callable[..., Configuration]
ONE = "clusters: [{name: prod, kubernetes: {}}]\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(
        text: str | bytes,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> Configuration:
        path = tmp_path / "nplb.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_configuration(path, env=env or {}, overrides=overrides)

    return load


@pytest.fixture
def open_dir() -> Iterator[Path]:
    with make_open_dir() as path:
        yield path


@pytest.fixture
def errors(load: Load, tmp_path: Path) -> Callable[..., list[str]]:
    def errors(text: str | bytes, **laid: Mapping[str, str]) -> list[str]:
        with pytest.raises(InvalidConfiguration) as caught:
            load(text, **laid)
        assert caught.value.exit_code == 78
        lines = str(caught.value).splitlines()
        assert lines == [str(error) for error in caught.value.errors]
        return [line.replace(f"{tmp_path}/nplb.yaml:", "") for line in lines]

    return errors


def test_the_smallest_configuration_has_every_default(load: Load) -> None:
    settings = load(ONE + "workers: 1\n").settings
    (cluster,) = settings.clusters
    assert cluster.source == KubernetesSource()
    assert settings == Settings(clusters=(cluster,))


def test_everything_that_can_be_set(load: Load, tmp_path: Path) -> None:
    configuration = load(
        """
clusters:
  - name: prod
    kubernetes: {kubeconfig: conf/kubeconfig, context: c}
    namespaces: [shop]
    service_selector: tier=edge
    node_selector: "!old"
    node_address: [ExternalIP]
    port_range: 30000+100
    load_balancer_class: example.com/lb
  - {name: lab, manifests: one.yaml}
listen: {addresses: [192.0.2.1, "::"], port: service}
frontends:
  - service: prod/shop/web:https
    listen: 0.0.0.0:443
    balance: round_robin
    timeouts: {idle: 10m}
    connect_attempts: 2
balance: maglev
timeouts: {connect: 500ms, idle: 2h, half_closed: 5s}
connect_attempts: 5
health: {enabled: false, interval: 2s, timeout: 500ms, rise: 3, fall: 4, jitter: 0, initial: up}
plane: relay
workers: 3
admin: {listen: off}
log: {level: debug, format: json}
shutdown: {delay: 0s, drain: 1m}
state_dir: state
"""
    )
    settings = configuration.settings
    prod, lab = settings.clusters
    assert prod.source == KubernetesSource(kubeconfig=tmp_path / "conf/kubeconfig", context="c")
    assert lab.source == ManifestsSource(paths=(str(tmp_path / "one.yaml"),))
    assert prod.namespaces == ("shop",)
    assert (prod.service_selector, prod.node_selector) == ("tier=edge", "!old")
    assert prod.node_address == ("ExternalIP",)
    assert (prod.port_range, prod.load_balancer_class) == ("30000+100", "example.com/lb")
    assert settings.listen.addresses == ("192.0.2.1", "::")
    assert settings.listen.port is EdgePort.SERVICE
    (frontend,) = settings.frontends
    assert (frontend.cluster, frontend.service, frontend.port) == ("prod", "shop/web", "https")
    assert frontend.listen == (Address("0.0.0.0", 443),)
    assert frontend.balance is Balance.ROUND_ROBIN
    assert frontend.connect_attempts == 2
    # What an override leaves out is the general value, not the built-in one.
    assert frontend.timeouts == Timeouts(connect=0.5, idle=600.0, half_closed=5.0)
    assert settings.balance is Balance.MAGLEV
    assert settings.timeouts == Timeouts(connect=0.5, idle=7200.0, half_closed=5.0)
    assert not settings.health.enabled
    assert (settings.health.rise, settings.health.fall, settings.health.jitter) == (3, 4, 0.0)
    assert settings.workers == 3
    assert settings.admin.listen is None
    assert (settings.log.level, settings.log.format) == ("debug", "json")
    assert settings.shutdown.drain_seconds == 60.0
    assert settings.state_dir == tmp_path / "state"


def test_options_of_connections(load: Load) -> None:
    settings = load(
        ONE
        + """
timeouts: {lifetime: 1h, queue: 1s, hold: 2s, drain: 0s, keepalive: off, user: off}
limits: {total: 9, connections: 8, per_backend: 7, queue: 6, per_client: 5, per_client_rate: 0.5}
no_backend: hold
source_ranges: [10.0.0.0/8, 2001:db8::/32]
send_proxy: v2
proxy_tlvs: true
accept_proxy_from: 192.0.2.1
source_addresses: 192.0.2.2
affinity: 3h
slow_start: 30s
spill_below: 1
on_leave: drain
reset_on_down: true
access_log: true
"""
    ).settings
    assert settings.max_connections == 9
    assert settings.relay == RelayOptions(
        lifetime_seconds=3600.0,
        no_backend=NoBackend.HOLD,
        hold_seconds=2.0,
        max_connections=8,
        max_connections_per_backend=7,
        max_queue=6,
        queue_seconds=1.0,
        max_connections_per_client=5,
        client_rate=0.5,
        source_ranges=("10.0.0.0/8", "2001:db8::/32"),
        send_proxy=SendProxy.V2,
        proxy_tlvs=True,
        accept_proxy_from=("192.0.2.1/32",),
        source_addresses=("192.0.2.2",),
        affinity_seconds=10800,
        slow_start_seconds=30.0,
        spill_below=1.0,
        on_leave=Leave.DRAIN,
        drain_seconds=0.0,
        reset_on_down=True,
        keepalive_seconds=0,
        user_timeout_seconds=0.0,
        access_log=True,
    )
    assert type(settings.relay.affinity_seconds) is int


def test_an_override_adds_to_that_of_the_whole_service_and_to_the_general(load: Load) -> None:
    settings = load(
        """
clusters: [{name: prod, kubernetes: {}}, {name: lab, kubernetes: {}}]
slow_start: 10s
source_ranges: 10.0.0.0/8
limits: {per_client: 5}
timeouts: {connect: 1s, idle: 10s}
frontends:
  - {service: shop/web, affinity: 1h, limits: {per_client: off}, timeouts: {idle: 20s}}
  - {service: shop/web:https, send_proxy: v2, timeouts: {half_closed: 7s}}
  - {service: lab/shop/web, on_leave: close, source_ranges: off}
  - {service: prod/shop/web:https, access_log: true}
  - {service: shop/api, balance: first}
"""
    ).settings
    whole, https, lab, prod_https, api = settings.frontends
    general = RelayOptions(
        slow_start_seconds=10.0, max_connections_per_client=5, source_ranges=("10.0.0.0/8",)
    )
    assert settings.relay == general
    of_whole = replace(general, affinity_seconds=3600, max_connections_per_client=0)
    assert whole.relay == of_whole
    assert whole.timeouts == Timeouts(connect=1.0, idle=20.0)
    assert https.relay == replace(of_whole, send_proxy=SendProxy.V2)
    assert https.timeouts == Timeouts(connect=1.0, idle=20.0, half_closed=7.0)
    assert lab.relay == replace(general, on_leave=Leave.CLOSE, source_ranges=())
    assert prod_https.relay == replace(of_whole, access_log=True)
    assert prod_https.timeouts is None
    assert (api.relay, api.timeouts, api.balance) == (None, None, Balance.FIRST)


def test_the_kernel_plane(load: Load) -> None:
    settings = load(
        ONE
        + """
plane: kernel
kernel: {masquerade: false, fast_path: true}
timeouts: {idle: 5m}
frontends:
  - {service: shop/web, kernel: {refusal: drop, fast_path: false}}
  - {service: shop/web:https, kernel: {end_on_down: false}}
  - {service: shop/api, plane: relay, send_proxy: v2, connect_attempts: 2}
"""
    ).settings
    assert settings.plane is PlaneKind.KERNEL
    general = KernelOptions(masquerade=False, fast_path=True)
    assert settings.kernel == general
    whole, port, api = settings.frontends
    assert whole.kernel == replace(general, refusal=Refusal.DROP, fast_path=False)
    assert port.kernel == replace(whole.kernel, end_on_down=False)
    assert (api.plane, api.kernel) == (PlaneKind.RELAY, None)


def test_what_the_kernel_plane_cannot_do_is_refused_where_it_is_written(
    errors: Callable[..., list[str]],
) -> None:
    found = errors(
        ONE
        + """\
access_log: true
slow_start: 5s
frontends:
  - {service: shop/web, plane: kernel, send_proxy: v1, slow_start: off, access_log: false}
  - {service: shop/web:https, timeouts: {idle: 5m}, slow_start: off, access_log: false}
  - {service: shop/api, plane: kernel, balance: least_connections, listen: "127.0.0.1:80"}
  - {service: shop/db, balance: least_connections, send_proxy: v2}
"""
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["5:52", "frontends[0].send_proxy"],
        ["6:48", "frontends[1].timeouts.idle"],
        ["7:32", "frontends[2].plane"],
        ["7:32", "frontends[2].plane"],
        ["7:49", "frontends[2].balance"],
        ["7:76", "frontends[2].listen"],
    ]
    assert "the general access_log holds for it too" in found[2]
    assert "leave it out or set plane: relay" in found[0]


@pytest.mark.parametrize(
    "key",
    [
        "send_proxy: v2",
        "accept_proxy_from: 10.0.0.0/8",
        "no_backend: hold",
        "limits: {queue: 5, per_backend: off}",
        "limits: {per_backend: 5}",
        "source_addresses: 192.0.2.1",
        "timeouts: {lifetime: 1h}",
        "access_log: true",
        "slow_start: 5s",
        "balance: first",
    ],
)
def test_in_general_too(errors: Callable[..., list[str]], key: str) -> None:
    (found,) = errors(f"{ONE}plane: kernel\n{key}\n")
    assert found.startswith("3:")


def test_all_errors_at_once_in_the_order_of_the_file(
    errors: Callable[..., list[str]],
) -> None:
    found = errors(
        """\
clusters:
  - name: prod
    kubernetes: {kubeconf: /etc/kc}
    service_selector: "tier in edge"
    manifests: [a.yaml]
  - name: prod
  - kubernetes: {}
listen: {address: 0.0.0.0}
frontends:
  - service: web
  - service: shop/web
    listen: [0.0.0.0:443, "127.0.0.1:9090"]
  - service: shop/api
    listen: "0.0.0.0:443"
health: {interval: 5, timeout: 1s, rise: 0}
workers: "4"
workers: 2
interval: 3s
80: x
state_dir:
"""
    )
    assert found == [
        "2:5: clusters[0]: has both kubernetes and manifests, remove one",
        '3:18: clusters[0].kubernetes.kubeconf: unknown key, did you mean "kubeconfig"?',
        (
            "4:23: clusters[0].service_selector: not a label selector: expected '(' and values, as "
            "in: zone in (a, b) at character 9, write it as in: tier=edge,zone in (a,b),!old"
        ),
        (
            "6:5: clusters[1]: does not say where its state comes from, write "
            "kubernetes: {kubeconfig: PATH}, or manifests: [PATH]"
        ),
        (
            "6:11: clusters[1].name: clusters[0] is called prod too, give each cluster a name of "
            "its own"
        ),
        "7:5: clusters[2].name: is missing, write it",
        '8:10: listen.address: unknown key, did you mean "addresses"?',
        '10:14: frontends[0].service: "web" has no namespace, write it as default/web',
        (
            "12:27: frontends[1].listen[1]: 127.0.0.1:9090 is where the admin server listens "
            "(127.0.0.1:9090), choose another, or change admin.listen"
        ),
        (
            "14:13: frontends[2].listen: frontends[1] listens on 0.0.0.0:443 too, choose another "
            "address or port"
        ),
        "15:20: health.interval: 5 has no unit, write 5s or 5ms",
        "15:42: health.rise: must be a whole number from 1 to 100, not the number 0",
        '16:10: workers: must be auto or a number from 1 to 256, not the text "4"',
        '17:1: duplicate key "workers" (the first is at line 16, column 1), remove one',
        '18:1: interval: unknown key here, did you mean "health.interval"?',
        '19:1: key "80" is a number, keys must be strings, quote it',
        "20:1: state_dir: is empty, write a value or remove the key",
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("health: {interval: 1s, timeout: 1s}", "health.timeout: 1s is not shorter than"),
        ("health: {interval: 10ms}", "health.interval: must be from 100ms to 1h, not 10ms"),
        ("health: {enabled: yes}", 'health.enabled: must be true or false, not the text "yes"'),
        ("health: {jitter: 0.9}", "health.jitter: must be a number from 0 to 0.5"),
        ("health: {jitter: .nan}", "health.jitter: must be a number from 0 to 0.5"),
        ("health: []", "health: must be a mapping of keys, not a list"),
        ("health:", "health: is empty, write {} for its defaults or remove the key"),
        ("timeouts: {idle: 100ms}", "timeouts.idle: must be from 1s to 30d, not 100ms"),
        (
            "balance: maglve",
            (
                "balance: must be round_robin, least_connections, random, random_two_choices, "
                'source_hash, maglev or first, not "maglve", did you mean "maglev"?'
            ),
        ),
        ("balance: 1", "not the number 1"),
        ("plane: user", 'plane: must be relay or kernel, not "user"'),
        ("kernel: {refusal: reject}", "kernel.refusal: must be reset or drop"),
        ("workers: 0", "workers: must be auto or a number from 1 to 256, not the number 0"),
        ("workers: true", "workers: must be auto or a number from 1 to 256, not true"),
        ("admin: {listen: 9090}", 'must be an address such as "127.0.0.1:9090", or off'),
        ("admin: {listen: localhost:9090}", '"localhost" is not an IP address'),
        ("listen: {addresses: []}", "listen.addresses: is an empty list"),
        ("listen: {addresses: ['::', '::']}", "listen.addresses: names :: twice, remove one"),
        ("listen: {addresses: '*'}", '"*" is not an IP address'),
        ("listen: {port: NodePort}", 'listen.port: must be mirror or service, not "NodePort"'),
        (
            "log: {level: INFO}",
            'log.level: must be debug, info, warning or error, not "INFO", did you mean "info"?',
        ),
        ("frontends: {service: a/b}", "frontends: must be a list, not a mapping, begin each"),
        (
            "frontends: [shop/web]",
            'frontends[0]: must be a mapping of keys, not the text "shop/web"',
        ),
        ("frontends: [{listen: 0.0.0.0:1}]", "frontends[0].service: is missing"),
        (
            "frontends: [{service: porduction/a/b}]",
            'there is no cluster "porduction", configured: prod',
        ),
        ("frontends: [{service: prd/a/b}]", 'there is no cluster "prd", did you mean "prod"?'),
        ("frontends: [{service: a/b}, {service: a/b}]", "frontends[0] is for this service too"),
        ("frontends: [{service: a/b, listen: 0.0.0.0:9090}]", "is where the admin server listens"),
        ("frontends: [{service: a/b, connect_attempts: 17}]", "whole number from 1 to 16"),
        ("frontends: [{service: a/b, timeouts: {conect: 1s}}]", 'did you mean "connect"?'),
        ("timeouts: {lifetime: 0s}", "timeouts.lifetime: must be off, or from 1s to 365d, not 0s"),
        ("timeouts: {keepalive: 1500ms}", "must be whole seconds, not 1s500ms"),
        ("timeouts: {idle: off}", 'timeouts.idle: "off" is not a duration'),
        ("limits: {connections: 0}", "limits.connections: must be off, or from 1 to 1,000,000"),
        ("limits: {per_client_rate: 0}", "must be off, or above 0 up to 1,000,000"),
        ("source_ranges: [10.0.0.1/8]", "has bits behind its prefix, write 10.0.0.0/8"),
        ("source_ranges: []", "source_ranges: is an empty list, write off or remove the key"),
        ("source_ranges: [10.0.0.0/8, 10.0.0.0/8]", "names 10.0.0.0/8 twice, remove one"),
        ("source_ranges: [edge]", '"edge" is not a CIDR such as "10.0.0.0/8"'),
        ("source_ranges: 10", 'must be a CIDR such as "10.0.0.0/8", not the number 10'),
        ("proxy_tlvs: true", "proxy_tlvs: only version 2 has TLVs, set send_proxy: v2"),
        ("send_proxy: 2", "send_proxy: must be none, v1 or v2, not the number 2"),
        (
            "frontends: [{service: a/b, send_proxy: v1, proxy_tlvs: true}]",
            "frontends[0].proxy_tlvs: only version 2 has TLVs",
        ),
        (
            "frontends: [{service: a/b, limits: {total: 5}}]",
            "frontends[0].limits.total: unknown key",
        ),
        ("state_dir: 5", 'state_dir: must be text, quote it: "5"'),
        ("state_dir: ~nobody-at-all/x", "no such home directory, write the whole path"),
        ('state_dir: "a\\0b"', "is not a path"),
        ("state_dir: nplb.yaml", "is not a directory, name one"),
        ("colour: red", "unknown key, the keys at the top are: "),
        ("clusters: []", "duplicate key"),
        ("workers: *b", "alias *b has no anchor"),
        ("---\nx: 1", "a second document begins here"),
    ],
)
def test_one_thing_wrong(errors: Callable[..., list[str]], more: str, message: str) -> None:
    (found,) = errors(ONE + more + "\n")
    assert message in found
    assert found.startswith("3:" if "second document" in message else "2:")


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ("{name: Prod, kubernetes: {}}", '"Prod" is not a name here'),
        ("{name: prod}", "does not say where its state comes from"),
        ("{name: prod, kubernetes: }", "kubernetes: is empty, write {} for its defaults"),
        ("{name: prod, kubernetes: {context: 5}}", 'must be text, quote it: "5"'),
        ("{name: prod, kubernetes: {kubeconfig: ''}}", "must be text, not an empty text"),
        ("{name: prod, kubernetes: kc}", 'must be a mapping of keys, not the text "kc"'),
        ("{name: p, manifests: []}", "clusters[0].manifests: is an empty list"),
        ("{name: p, kubernetes: {}, namespaces: shop}", "must be a list, not the text"),
        ("{name: p, kubernetes: {}, namespaces: [a, a]}", "names a twice, remove one"),
        ("{name: p, kubernetes: {}, namespaces: [A]}", 'clusters[0].namespaces[0]: "A" is not'),
        ("{name: p, kubernetes: {}, node_address: [Hostname]}", "must be InternalIP or ExternalIP"),
        ("{name: p, kubernetes: {}, port_range: 30000}", "must be a range of ports, not the num"),
        ("{name: p, kubernetes: {}, port_range: 9-1}", "end port cannot be less than start port"),
        ("{name: p, kubernetes: {}, port_range: ''}", "holds no port from 1 to 65535"),
        ("{name: p, kubernetes: {}, port_range: 0-70000}", "cannot be greater than 65535"),
        ("{name: p, kubernetes: {}, node_selector: 'a=b c'}", "expected ',' or the end, found 'c'"),
        ("{name: p, kubernetes: {}, service_selector: 1}", "must be a label selector such as"),
    ],
)
def test_one_thing_wrong_with_a_cluster(
    errors: Callable[..., list[str]], cluster: str, message: str
) -> None:
    found = errors(f"clusters:\n  - {cluster}\n")
    assert any(message in line for line in found)
    assert all(line.startswith("2:") for line in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: the file is empty, name at least one cluster"),
        ("# nothing\n", "1:1: the file is empty"),
        ("---\n", "1:1: the file is empty"),
        ("- a\n", "1:1: must be a mapping of keys, not a list"),
        ("text", '1:1: must be a mapping of keys, not the text "text"'),
        ("workers: 2\n", "1:1: clusters: is missing, name at least one cluster, as in: clusters:"),
        ("clusters: []\n", "1:1: clusters: is an empty list, name at least one cluster"),
        ("clusters:\n\t- a\n", "2:1: a tab stands where only spaces may"),
        (b"clusters: \xff\n", "1:11: byte 0xff is not UTF-8"),
    ],
)
def test_files_that_hold_no_configuration(
    errors: Callable[..., list[str]], text: str | bytes, message: str
) -> None:
    (found,) = errors(text)
    assert found.startswith(message)


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, message in [
        (tmp_path / "absent.yaml", "there is no such file"),
        (tmp_path, "is a directory, name the file in it"),
        (tmp_path / "absent" / "nplb.yaml", "there is no such file"),
    ]:
        with pytest.raises(InvalidConfiguration) as caught:
            load_settings(path, env={})
        assert str(caught.value).startswith(f"{path}: {message}")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        load_settings(loop, env={})


def test_a_file_that_may_not_be_read_is_a_matter_of_rights(open_dir: Path) -> None:
    path = open_dir / "nplb.yaml"
    path.write_text(ONE)
    load_settings(path, env={})
    path.chmod(0)
    with (
        as_ordinary_user(),
        pytest.raises(HostPermissionError, match="may not be read by this user") as caught,
    ):
        load_settings(path, env={})
    assert caught.value.exit_code == 77


def test_flags_go_before_the_environment_before_the_file_before_defaults(load: Load) -> None:
    text = ONE + "health: {interval: 4s, rise: 4, fall: 4}\n"
    env = {"NPLB_HEALTH_RISE": "5", "NPLB_HEALTH_FALL": "5", "NPLB_LISTEN_ADDRESSES": "['::']"}
    overrides = {"health.fall": "6", "log.level": "debug"}
    settings = load(text, env, overrides).settings
    assert settings.health.interval_seconds == 4.0
    assert settings.health.rise == 5
    assert settings.health.fall == 6
    assert settings.health.timeout_seconds == 1.0
    assert settings.listen.addresses == ("::",)
    assert settings.log.level == "debug"


def test_whole_lists_can_be_laid_over(load: Load) -> None:
    overrides = {"clusters": "[{name: other, manifests: a.yaml}]"}
    (cluster,) = load(ONE, None, overrides).settings.clusters
    assert cluster.name == "other"


def test_errors_of_flags_and_environment_name_them(errors: Callable[..., list[str]]) -> None:
    found = errors(
        ONE + "log: {level: loud}\n",
        env={"NPLB_HEALTH_RISE": "many", "NPLB_TIMEOUTS_IDLE": "5", "NPLB_ADMIN_LISTEN": "[x"},
        overrides={"helth.rise": "1", "log.format": "xml"},
    )
    assert found == [
        '--set: there is no key "helth.rise" that can be set so, did you mean "health.rise"?',
        (
            "$NPLB_ADMIN_LISTEN: admin.listen: expected ',' or ']' here, close the list, or quote "
            "the value"
        ),
        '$NPLB_HEALTH_RISE: health.rise: must be a whole number from 1 to 100, not the text "many"',
        '--set log.format: log.format: must be text or json, not "xml"',
        "$NPLB_TIMEOUTS_IDLE: timeouts.idle: 5 has no unit, write 5s or 5ms",
        '2:14: log.level: must be debug, info, warning or error, not "loud"',
    ]


def test_empty_variables_count_as_unset_and_near_misses_are_told(load: Load) -> None:
    env = {"NPLB_HEALTH_RISE": "", "NPLB_HEALTH_RIES": "3", "NPLB_CONFIG": "x", "NPLB_PORT": "1"}
    configuration = load(ONE, env)
    assert configuration.settings.health.rise == 2
    assert [str(w) for w in configuration.warnings] == [
        "$NPLB_HEALTH_RIES: names no key, did you mean $NPLB_HEALTH_RISE?"
    ]


def test_variables_of_flags_are_no_keys(load: Load) -> None:
    env = {
        "NPLB_ADMIN": "http://127.0.0.1:9191",
        "NPLB_CONFIG": "/etc/nplb/nplb.yaml",
        "NPLB_OUTPUT": "json",
        "NPLB_DEBUG": "1",
        "NPLB_TOKEN_FILE": "/run/token",
        "NPLB_CA_FILE": "/run/ca.pem",
        "NPLB_CLIENT_CERT": "/run/client.pem",
        "NPLB_LAB_KUBECONFIG": "lab.kubeconfig",
    }
    configuration = load(ONE, env)
    assert configuration == load(ONE)
    assert configuration.warnings == ()
    assert set(env) == FLAG_VARIABLES
    assert not FLAG_VARIABLES & setting_variables().keys()


def test_what_looks_unintended_is_a_warning(load: Load, tmp_path: Path) -> None:
    configuration = load(
        """\
clusters:
  - name: prod
    kubernetes: {kubeconfig: absent}
    namespaces: [shop]
  - name: lab
    manifests: ["*.json", nplb.yaml]
frontends:
  - service: prod/web/api
admin: {listen: "0.0.0.0:30500"}
limits: {queue: 5}
"""
    )
    found = [str(w).replace(f"{tmp_path}/", "") for w in configuration.warnings]
    assert found == [
        (
            "nplb.yaml:3:30: clusters[0].kubernetes.kubeconfig: absent does not exist (yet), "
            "correct the path or write it"
        ),
        (
            "nplb.yaml:6:17: clusters[1].manifests[0]: *.json matches no file (yet), correct it or "
            "write one"
        ),
        (
            "nplb.yaml:8:14: frontends[0].service: no cluster serves the namespace web, so this "
            "never applies"
        ),
        (
            "nplb.yaml:9:17: admin.listen: port 30500 is in the NodePort range of prod, a Service "
            "that gets it can't be served here: choose another"
        ),
        (
            "nplb.yaml:9:17: admin.listen: port 30500 is in the NodePort range of lab, a Service "
            "that gets it can't be served here: choose another"
        ),
        "nplb.yaml:10:17: limits.queue: nobody waits unless limits.per_backend is set",
    ]


def test_the_home_directory_and_absolute_paths(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = "clusters: [{name: a, manifests: [~/m.yaml, /abs/m.yaml]}]\nstate_dir: ~/state\n"
    settings = load(text).settings
    source = settings.clusters[0].source
    assert isinstance(source, ManifestsSource)
    assert source.paths == (str(tmp_path / "home/m.yaml"), "/abs/m.yaml")
    assert settings.state_dir == tmp_path / "home/state"


def test_relative_paths_start_at_the_file_whatever_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "nplb.yaml").write_text(ONE + "state_dir: state\n")
    monkeypatch.chdir(tmp_path)
    settings = load_settings("etc/nplb.yaml", env={})
    assert settings.state_dir == tmp_path / "etc" / "state"


def test_the_service_managers_state_directory(load: Load) -> None:
    env = {"STATE_DIRECTORY": "/var/lib/nplb:/var/lib/other"}
    assert load(ONE, env).settings.state_dir == Path("/var/lib/nplb")
    assert load(ONE).settings.state_dir is None


def test_wildcards_and_single_addresses_may_share_a_port(load: Load) -> None:
    text = ONE + (
        "frontends:\n"
        "  - {service: a/b, listen: 0.0.0.0:443}\n"
        "  - {service: a/c, listen: 192.0.2.1:443}\n"
        '  - {service: a/d, listen: "[::]:443"}\n'
        '  - {service: a/e, listen: "[::1]:9090"}\n'
    )
    assert len(load(text).settings.frontends) == 4


def test_one_wrong_value_does_not_hide_the_checks_of_others(
    errors: Callable[..., list[str]],
) -> None:
    found = errors(
        "clusters:\n"
        "  - {name: a, kubernetes: {}, port_range: x}\n"
        "  - {name: a, kubernetes: {}}\n"
        "health: {rise: x, interval: 1s, timeout: 2s}\n"
    )
    assert [line.split(": ")[1] for line in found] == [
        "clusters[0].port_range",
        "clusters[1].name",
        "health.rise",
        "health.timeout",
    ]
