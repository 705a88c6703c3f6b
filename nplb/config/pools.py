"""The section about pools: Services of several clusters behind one frontend."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from nplb.config.fields import Addresses, many_schema, only_list
from nplb.config.keys import Section
from nplb.config.values import kind_of, read_service
from nplb.config.words import shown
from nplb.model.settings import PoolMember

MAX_WEIGHT = 1000
_FORM = '"[cluster/]namespace/name[:port] weight=NUMBER"'


def read_member(value: object) -> PoolMember:
    """A member, of `east/shop/web:https weight=3`; the weight may be left out."""
    if not isinstance(value, str):
        raise ValueError(f"must be a service, written {_FORM}, not {kind_of(value)}")
    text, _, rest = value.strip().partition(" ")
    weight = 1
    if rest.strip():
        found = re.fullmatch(r"weight=([0-9]{1,4})", rest.strip(), re.ASCII)
        if found is None or not 1 <= int(found[1]) <= MAX_WEIGHT:
            bounds = f"weight=NUMBER, from 1 to {MAX_WEIGHT}"
            raise ValueError(f"{shown(rest.strip())} in {shown(value)} is not {bounds}")
        weight = int(found[1])
    cluster, service, port = read_service(text)
    return PoolMember(service=service, cluster=cluster, port=port, weight=weight)


def _read_name(value: object) -> str:
    cluster, name, port = read_service(value)
    if cluster is not None or port is not None:
        raise ValueError(f"{shown(str(value))} is no pool's name, write it as namespace/name")
    return name


def _distinct(members: Sequence[PoolMember]) -> Sequence[PoolMember]:
    if not members:
        raise ValueError("is an empty list, name at least one service")
    for index, member in enumerate(members):
        for other in members[:index]:
            one = (member.cluster, member.service, member.port)
            if one == (other.cluster, other.service, other.port):
                raise ValueError(f"names {member.service} twice, remove one")
    return members


Members = Annotated[
    Sequence[Annotated[PoolMember, PlainValidator(read_member)]],
    BeforeValidator(only_list),
    AfterValidator(_distinct),
    many_schema({"type": "string", "examples": ["east/shop/web:https weight=3"]}),
]
PoolName = Annotated[
    str,
    PlainValidator(_read_name),
    WithJsonSchema({"type": "string", "examples": ["shop/web"]}),
]


class PoolSection(Section):
    """Services of several clusters behind one frontend, which is served by the relay. They get no
    frontends of their own. An entry of `frontends` for `pool/` and the pool's name sets what
    differs for it."""

    name: PoolName = Field(
        description="What to call it, as namespace/name: it is shown as pool/namespace/name."
    )
    listen: Addresses = Field(
        description="The addresses and ports to serve it on, one or a list.",
    )
    members: Members = Field(
        description="The Services, each as [cluster/]namespace/name[:port] and perhaps weight=N: "
        "without a cluster those of this name in every cluster. A weight is the member's share "
        "of the clients, however many nodes its cluster has."
    )
