"""Takes out of a text what must not be shown: the last fence before a log, a page or a bundle.

Nobody should put a secret into a message to begin with. What comes from libraries and from other
hosts (an address with a password in it, an answer that repeats its request) can't be known, so
what looks like a secret is taken out wherever texts leave the process.
"""

import re

HIDDEN = "[hidden]"

_PATTERNS = (
    # The user and password of a URL.
    (re.compile(r"(?<=://)[^\s/@'\"]+@"), f"{HIDDEN}@"),
    # HTTP credentials, with or without the header's name.
    (re.compile(r"(?i)\b(bearer|basic)(\s+|%20)[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    # JSON Web Tokens, which Kubernetes gives to ServiceAccounts.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),
    # PEM private keys, also where line breaks are written as \\n, and base64 of PEM.
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        HIDDEN,
    ),
    (re.compile(r"\bLS0tLS1CRUdJTi[A-Za-z0-9+/=]{16,}"), HIDDEN),
    # `password: hunter2`, `"token": "..."`, `client-key-data=...`, but no word of a sentence.
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|token|api[-_]?key|client-key-data)\"?\s*[:=]\s*\"?)"
            r"(?!\[hidden\])(?=[^\s\"',;}]{16}|[^\s\"',;}\d]*\d)[^\s\"',;}]{6,}"
        ),
        rf"\1{HIDDEN}",
    ),
)
_HINTS = ("://", "earer", "asic", "EARER", "eyJ", "PRIVATE", "LS0t", ":", "=")


def scrubbed(text: str) -> str:
    """The text without what looks like a secret."""
    if not any(hint in text for hint in _HINTS):
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
