"""What can be broken of a lab, and how that is written: the command line and HTTP show it."""

from collections.abc import Mapping
from dataclasses import dataclass

from nplb.config.values import read_duration, show_duration
from nplb.model.errors import ConfigurationError

NODE, POD, API = "node", "pod", "api"
FLAP_SECONDS = 5.0
DRAIN_SECONDS = 30.0
SLOW_SECONDS = 0.2
LOSS_SHARE = 0.1
API_DOWN_SECONDS = 10.0
API_RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault. `argument` is the default of its duration in seconds (of its share,
    where it is a `share`, 0 to 1), None if it takes none. A `momentary` one happens and is over;
    one that `cuts` ends every connection to the API server's port; one of the `network` can be
    played only where there is a real one (`--netns`)."""

    name: str
    what: str
    argument: float | None = None
    momentary: bool = False
    cuts: bool = False
    share: bool = False
    network: bool = False

    @property
    def usage(self) -> str:
        """How it is written: `slow[=200ms]`."""
        if self.argument is None:
            return self.name
        return f"{self.name}[={self.show(self.argument)}]"

    def show(self, argument: float) -> str:
        """An argument as it is written."""
        return f"{argument:.2%}".replace(".00", "") if self.share else show_duration(argument)

    def read(self, text: str) -> float:
        """An argument from text. Errors: ValueError."""
        if not self.share:
            seconds = read_duration(text)
            if seconds <= 0:
                raise ValueError("the duration must be longer than nothing")
            return seconds
        try:
            share = float(text.removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            raise ValueError(f"{text!r} is no share: write a percentage such as 10%")
        return share


def _catalogue(*kinds: Kind) -> Mapping[str, Kind]:
    return {kind.name: kind for kind in kinds}


CATALOGUE: Mapping[str, Mapping[str, Kind]] = {
    NODE: _catalogue(
        Kind(name="refuse", what="its ports refuse; open connections live on"),
        Kind(name="reset", what="its ports refuse, and open connections are reset"),
        Kind(name="silent", what="its address drops everything; its pods and kubelet live on"),
        Kind(name="slow", what="holds data up for that long, each way", argument=SLOW_SECONDS),
        Kind(
            name="flap", what="refuses and works in turn, for that long each", argument=FLAP_SECONDS
        ),
        Kind(
            name="loss",
            what="loses that share of its packets, each way",
            argument=LOSS_SHARE,
            share=True,
            network=True,
        ),
        Kind(
            name="partition",
            what="it and the other machines do not reach each other; the edge reaches it",
            network=True,
        ),
        Kind(
            name="detour",
            what="its packets to clients go around the edge; answers to the edge do not",
            network=True,
        ),
        Kind(
            name="not-ready",
            what="its kubelet stops: Ready becomes Unknown, its pods count as not ready; "
            "NodePorts work",
        ),
        Kind(
            name="not-ready-but-serving",
            what="its kubelet reports Ready False; everything else works",
        ),
        Kind(name="proxy-stuck", what="its kube-proxy takes no update: its rules grow stale"),
        Kind(name="dead", what="the machine is off, with its pods; cleared, it boots"),
        Kind(
            name="drain",
            what="the autoscaler removes it: taint and eviction now, Node deleted and machine "
            "off after that long",
            argument=DRAIN_SECONDS,
        ),
        Kind(name="delete", what="the Node is deleted and the machine is off; cleared, it is back"),
    ),
    POD: _catalogue(
        Kind(name="crash", what="it dies, and is started again", momentary=True),
        Kind(name="not-ready", what="its readiness probe fails; it still answers"),
        Kind(name="silent", what="its address drops everything, and nobody notices"),
    ),
    API: _catalogue(
        Kind(name="hang", what="takes requests and answers none"),
        Kind(
            name="down",
            what="refuses connections for that long, and cuts open ones",
            argument=API_DOWN_SECONDS,
            cuts=True,
        ),
        Kind(
            name="restart",
            what="down for that long; then every earlier resourceVersion is too old (410)",
            argument=API_RESTART_SECONDS,
            cuts=True,
        ),
        Kind(name="bad-gateway", what="answers 502 with a page of HTML, as a proxy would"),
        Kind(name="too-many-requests", what="answers 429 with Retry-After"),
        Kind(name="unauthorized", what="answers 401 to every token"),
        Kind(name="forbidden", what="answers 403: every right is taken away"),
        Kind(name="internal-error", what="answers 500"),
        Kind(name="stall", what="watches stay open and bring nothing, not even their end"),
        Kind(name="cut", what="breaks every watch off in the middle of a line", momentary=True),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault that is on. `target` is `node/NAME`, `pod/NAMESPACE/NAME` or `api`. Times in
    seconds; `since` and `until` since the epoch, `until` None until it is cleared."""

    target: str
    name: str
    argument: float | None
    since: float
    until: float | None = None

    @property
    def kind(self) -> Kind:
        """Its entry of the catalogue."""
        return CATALOGUE[self.target.partition("/")[0]][self.name]

    def __str__(self) -> str:
        argument = f"={self.kind.show(self.argument)}" if self.argument is not None else ""
        return f"{self.target} {self.name}{argument}"


def read_spec(target: str, spec: str) -> tuple[Kind, float | None]:
    """The kind and argument of a fault as somebody writes it, such as `slow=200ms`, for a target
    (`node/NAME`, `pod/NAMESPACE/NAME` or `api`). Raises ConfigurationError."""
    kinds = CATALOGUE[target.partition("/")[0]]
    name, equals, text = spec.partition("=")
    kind = kinds.get(name)
    if kind is None:
        raise ConfigurationError(
            f"there is no fault {name!r} of {target}; there are {', '.join(kinds)}"
        )
    if not equals:
        return kind, kind.argument
    if kind.argument is None:
        raise ConfigurationError(f"the fault {name!r} takes no argument; write just {name}")
    try:
        return kind, kind.read(text)
    except ValueError as error:
        raise ConfigurationError(f"{spec!r}: {error}") from None
