"""Which clients a frontend takes: by address, by number, by rate."""

from _socket import AF_INET, AF_INET6, inet_pton

from nplb.policy.addressset import AddressSet

MAX_RATES = 20_000


class Admission:
    """One frontend's rules about clients, and what it knows of them now."""

    __slots__ = ("burst", "clients", "max_per_client", "rate", "rates", "sources")

    def __init__(self, sources: AddressSet | None, max_per_client: int, rate: float) -> None:
        self.sources = sources
        self.max_per_client = max_per_client
        self.rate = rate
        self.burst = max(rate, 1.0)
        self.clients: dict[str, int] = {}
        self.rates: dict[str, tuple[float, float]] = {}

    def admits_source(self, ip: str) -> bool:
        """Whether the sources that are admitted have this address."""
        if self.sources is None:
            return True
        packed = inet_pton(AF_INET6, ip.partition("%")[0]) if ":" in ip else inet_pton(AF_INET, ip)
        return self.sources.admits(packed)

    def take(self, ip: str) -> bool:
        """Count one more connection of this client, unless it has as many as it may."""
        open_now = self.clients.get(ip, 0)
        if open_now >= self.max_per_client:
            return False
        self.clients[ip] = open_now + 1
        return True

    def give(self, ip: str) -> None:
        """One of its connections has ended."""
        open_now = self.clients.get(ip, 0)
        if open_now > 1:
            self.clients[ip] = open_now - 1
        else:
            self.clients.pop(ip, None)

    def admits_rate(self, ip: str, now: float) -> bool:
        """Whether this client may have one more connection now (a token bucket)."""
        tokens, at = self.rates.get(ip, (self.burst, now))
        tokens = min(tokens + (now - at) * self.rate, self.burst)
        if len(self.rates) > MAX_RATES:  # whose bucket is full again need not be remembered
            full = self.burst / self.rate
            self.rates = {k: v for k, v in self.rates.items() if now - v[1] < full}
        if tokens < 1.0:
            self.rates[ip] = (tokens, now)
            return False
        self.rates[ip] = (tokens - 1.0, now)
        return True
