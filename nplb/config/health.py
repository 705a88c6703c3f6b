"""The sections about probes, for all frontends and for one. Defaults are `model.health`'s."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from nplb.config.fields import (
    Bool,
    Duration,
    Maybe,
    as_list,
    one_of,
    share,
    share_schema,
    some_distinct,
    whole,
    whole_schema,
    within,
    words_schema,
)
from nplb.config.keys import DAY, Section, duration, key, section
from nplb.config.values import kind_of
from nplb.config.words import shown
from nplb.model.health import (
    BlastRadius,
    HealthSettings,
    InitialState,
    KubeProxyUse,
    ProbeKind,
    ProbeSharing,
    SharingSettings,
)

_HEALTH = HealthSettings()
_CHECK = _HEALTH.check
_BLAST = BlastRadius()
_SHARING = SharingSettings()
_MANY = 1_000_000


def _read_status(value: object) -> tuple[int, int]:
    """A range of HTTP statuses, of `200` or `"200-399"`."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    found = re.fullmatch(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", text, re.ASCII)
    if found is None:
        raise ValueError(f'must be a status such as 200, or "200-399", not {kind_of(value)}')
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise ValueError(f"{shown(text)} begins after its end, write it as {high}-{low}")
    return low, high


def _read_path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"must be a path that begins with /, not {kind_of(value)}")
    return _in_one_word(value)


def _read_word(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be text, not {kind_of(value)}")
    return _in_one_word(value)


def _read_bytes(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be text, not {kind_of(value)}")
    return value


def _in_one_word(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text, re.ASCII):
        raise ValueError(f"{shown(text)} has a space or what is not ASCII, encode it as in %20")
    return text


def _read_method(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Z]{1,20}", value, re.ASCII):
        return value
    raise ValueError(f"must be a method such as GET or HEAD, not {kind_of(value)}")


def _read_file(value: object) -> str:
    if isinstance(value, str) and value.startswith("/") and "\0" not in value:
        return value
    raise ValueError(f"must be a whole path that begins with /, not {kind_of(value)}")


def _read_budget(value: object) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and 1 <= value <= _MANY:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise ValueError(f"must be a number from 1 to {_MANY:,}, not {kind_of(value)}")


def _text(examples: Sequence[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "examples": list(examples)})


_STATUS: Any = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"},
    ]
}

InitialWord = Annotated[
    InitialState, PlainValidator(one_of(InitialState)), words_schema(InitialState)
]
KindWord = Annotated[ProbeKind, PlainValidator(one_of(ProbeKind)), words_schema(ProbeKind)]
SharingWord = Annotated[
    ProbeSharing, PlainValidator(one_of(ProbeSharing)), words_schema(ProbeSharing)
]
KubeProxyWord = Annotated[
    KubeProxyUse, PlainValidator(one_of(KubeProxyUse)), words_schema(KubeProxyUse)
]
Probes = Annotated[int, PlainValidator(whole(1, 100)), whole_schema(1, 100)]
Jitter = Annotated[float, PlainValidator(share(0.5)), share_schema(0.5)]
Share = Annotated[float, PlainValidator(share(1.0)), share_schema(1.0)]
Interval = Annotated[Duration, within(0.1, 3600)]
Timeout = Annotated[Duration, within(0.01, 60)]
Budget = Annotated[
    float,
    PlainValidator(_read_budget),
    WithJsonSchema({"type": "number", "minimum": 1, "maximum": _MANY}),
]
UrlPath = Annotated[str, PlainValidator(_read_path), _text(["/", "/healthz?full=1"])]
Word = Annotated[str, PlainValidator(_read_word), _text(["shop.example.org"])]
Bytes = Annotated[str, PlainValidator(_read_bytes), _text(["PING\r\n"])]
Method = Annotated[
    str,
    PlainValidator(_read_method),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{1,20}$", "examples": ["GET", "HEAD"]}),
]
File = Annotated[str, PlainValidator(_read_file), _text(["/etc/ssl/certs/shop-ca.pem"])]
Statuses = Annotated[
    Sequence[Annotated[tuple[int, int], PlainValidator(_read_status)]],
    BeforeValidator(as_list),
    AfterValidator(some_distinct),
    WithJsonSchema(
        {
            "anyOf": [
                *_STATUS["anyOf"],
                {"type": "array", "items": _STATUS, "minItems": 1, "uniqueItems": True},
            ]
        }
    ),
]


class HttpSection(Section):
    """The request of probes of kind `http` and `https`."""

    path: UrlPath = key(_CHECK.path, "The path to ask for, with its query if it has one.")
    host: Maybe[Word] = key(None, "The Host header. Without it: the node's address and port.")
    method: Method = key(_CHECK.method, "The method, in capitals.")
    status: Statuses = key(
        _CHECK.status,
        "The statuses of a good answer: one or a list, each a number or a range.",
        shown="200-399",
    )


class FrontendHttpSection(Section):
    """What differs in the request."""

    path: Maybe[UrlPath] = key(None, "Instead of health.http.path.")
    host: Maybe[Word] = key(None, "Instead of health.http.host.")
    method: Maybe[Method] = key(None, "Instead of health.http.method.")
    status: Maybe[Statuses] = key(None, "Instead of health.http.status.")


class TlsSection(Section):
    """The TLS of probes of kind `https` and `tls`."""

    verify: Bool = key(_CHECK.verify, "The certificate must be valid for `server_name`.")
    ca_file: Maybe[File] = key(
        None,
        "The authorities to trust, in PEM, read again when it changes. Without it: the host's.",
    )
    server_name: Maybe[Word] = key(
        None, "The name to ask for (SNI). Without it: none, and the certificate names the address."
    )


class FrontendTlsSection(Section):
    """What differs in the TLS."""

    verify: Maybe[Bool] = key(None, "Instead of health.tls.verify.")
    ca_file: Maybe[File] = key(None, "Instead of health.tls.ca_file.")
    server_name: Maybe[Word] = key(None, "Instead of health.tls.server_name.")


class BlastRadiusSection(Section):
    """How many of a Service's nodes may leave because the API says so alone: by a label, a taint,
    a selector, or a Node that is deleted. Those beyond it stay while their probes pass."""

    share: Share = key(
        _BLAST.share,
        "At most this share of a Service's nodes, one at least, and never the last. 1: no limit.",
    )
    window: Annotated[Duration, within(1, DAY)] = duration(_BLAST.window_seconds, "Within so long.")


class HealthSection(Section):
    """How nodes are probed: every NodePort, again and again."""

    enabled: Bool = key(_HEALTH.enabled, "Without probes every node counts as working.")
    interval: Interval = duration(_HEALTH.interval_seconds, "From one probe of a node to the next.")
    fast_interval: Interval = duration(
        _HEALTH.fast_seconds,
        "The same while a node is on its way up or down, if it is shorter than `interval`.",
    )
    slow_interval: Maybe[Interval] = key(
        None, "The same while a node is down. Without it: `interval`."
    )
    timeout: Timeout = duration(
        _HEALTH.timeout_seconds,
        "How long a node may take to accept a probe, and to answer it. Shorter than the interval.",
    )
    rise: Probes = key(_HEALTH.rise, "Probes in a row that must succeed to bring a node back.")
    fall: Probes = key(_HEALTH.fall, "Probes in a row that must fail to take a node out.")
    jitter: Jitter = key(
        _HEALTH.jitter,
        "Each probe comes sooner, at random, by up to this share of the interval: they spread.",
    )
    initial: InitialWord = key(
        _HEALTH.initial,
        "What a node is before its first probe. `probe`: not used, and the first probe decides. "
        "`up`: used. `down`: not used until `rise` probes have succeeded.",
    )
    probe: KindWord = key(
        _CHECK.kind,
        "What a probe does. `tcp`: connects, and the application never sees it. `http`, `https`: "
        "asks for a page. `tls`: finishes a handshake and says goodbye, so that no server logs an "
        "error. `send_expect`: sends `send` and waits for `expect`.",
    )
    http: HttpSection = section(HttpSection)
    tls: TlsSection = section(TlsSection)
    send: Maybe[Bytes] = key(None, "What a probe of kind `send_expect` sends, if anything.")
    expect: Maybe[Bytes] = key(
        None, "What the answer to it must hold. Without it: any answer is good."
    )
    kube_proxy: KubeProxyWord = key(
        _HEALTH.kube_proxy,
        "What kube-proxy's own /healthz on port 10256 counts for. `off`: it is not asked. "
        "`prefer`: a node where it fails serves when too few others do. `require`: that node gets "
        "no new connection.",
    )
    health_check_port: Bool = key(
        _HEALTH.health_check_port,
        "Ask the health check node port of Services that have one how many pods a node holds, and "
        "drain nodes where it answers 503. Where it does not answer, EndpointSlices count.",
    )
    panic_below: Share = key(
        _HEALTH.panic_below,
        "When less than this share of a Service's nodes pass their probes, that is a panic: it is "
        "shown, and see fail_open. 0: never.",
    )
    fail_open: Bool = key(
        _HEALTH.fail_open, "In a panic, nodes that fail their probes are used too."
    )
    share: SharingWord = key(
        _SHARING.mode,
        "Whether the services of a node share its probes. `off`: each NodePort of each node is "
        "probed on its own. `node`: a node's services are probed in turn, and in doubt on their "
        "own. `auto`: so once the others would be more than `budget`.",
    )
    budget: Budget = key(
        _SHARING.budget,
        "Probes a second that are not to be passed by sharing. One a node and interval is made in "
        "any case.",
        shown=int(_SHARING.budget),
    )
    blast_radius: BlastRadiusSection = section(BlastRadiusSection)


class FrontendHealthSection(Section):
    """What differs in the probes of one Service."""

    enabled: Maybe[Bool] = key(None, "Instead of health.enabled.")
    interval: Maybe[Interval] = key(None, "Instead of health.interval.")
    fast_interval: Maybe[Interval] = key(None, "Instead of health.fast_interval.")
    slow_interval: Maybe[Interval] = key(None, "Instead of health.slow_interval.")
    timeout: Maybe[Timeout] = key(None, "Instead of health.timeout.")
    rise: Maybe[Probes] = key(None, "Instead of health.rise.")
    fall: Maybe[Probes] = key(None, "Instead of health.fall.")
    jitter: Maybe[Jitter] = key(None, "Instead of health.jitter.")
    initial: Maybe[InitialWord] = key(None, "Instead of health.initial.")
    probe: Maybe[KindWord] = key(None, "Instead of health.probe.")
    http: Maybe[FrontendHttpSection] = key(None, "What differs in the request.")
    tls: Maybe[FrontendTlsSection] = key(None, "What differs in the TLS.")
    send: Maybe[Bytes] = key(None, "Instead of health.send.")
    expect: Maybe[Bytes] = key(None, "Instead of health.expect.")
    kube_proxy: Maybe[KubeProxyWord] = key(None, "Instead of health.kube_proxy.")
    health_check_port: Maybe[Bool] = key(None, "Instead of health.health_check_port.")
    panic_below: Maybe[Share] = key(None, "Instead of health.panic_below.")
    fail_open: Maybe[Bool] = key(None, "Instead of health.fail_open.")


# Where the fields of HealthSettings and of its Check stand in a section, after `health`.
HEALTH_KEYS: dict[str, tuple[str, ...]] = {
    "enabled": ("enabled",),
    "interval_seconds": ("interval",),
    "fast_seconds": ("fast_interval",),
    "slow_seconds": ("slow_interval",),
    "timeout_seconds": ("timeout",),
    "rise": ("rise",),
    "fall": ("fall",),
    "jitter": ("jitter",),
    "initial": ("initial",),
    "kube_proxy": ("kube_proxy",),
    "health_check_port": ("health_check_port",),
    "panic_below": ("panic_below",),
    "fail_open": ("fail_open",),
}
CHECK_KEYS: dict[str, tuple[str, ...]] = {
    "kind": ("probe",),
    "path": ("http", "path"),
    "host": ("http", "host"),
    "method": ("http", "method"),
    "status": ("http", "status"),
    "verify": ("tls", "verify"),
    "ca_file": ("tls", "ca_file"),
    "server_name": ("tls", "server_name"),
    "send": ("send",),
    "expect": ("expect",),
}
