"""The conversation that a check asks for."""

from nplb.health.probes.conversation import Conversation
from nplb.health.probes.exchange import Exchange
from nplb.health.probes.http import HttpRequest
from nplb.health.probes.tls import Tls
from nplb.model.health import Check, ProbeKind
from nplb.model.keys import Address


def conversation_for(check: Check, address: Address) -> Conversation | None:
    """A new conversation with this address, None where the connect is all that counts."""
    inner: Conversation | None = None
    if check.kind is ProbeKind.TCP:
        return None
    if check.kind is ProbeKind.SEND_EXPECT:
        return Exchange(check.send.encode(), check.expect.encode())
    if check.kind in (ProbeKind.HTTP, ProbeKind.HTTPS):
        inner = HttpRequest(
            method=check.method,
            path=check.path,
            host=check.host or str(address),
            status=check.status,
        )
        if check.kind is ProbeKind.HTTP:
            return inner
    return Tls(
        verify=check.verify,
        ca_file=check.ca_file,
        server_name=check.server_name,
        ip=address.ip,
        inner=inner,
    )
