"""What looks like a secret is taken out of texts, and nothing else."""

import pytest

from nplb.model.secrets import scrubbed

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:hunter2@proxy:3128/x", "http://[hidden]@proxy:3128/x"),
        ("see https://only-a-user@host", "see https://[hidden]@host"),
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer [hidden]"),
        (
            "header 'authorization': 'Basic dXNlcjpwYXNz'",
            "header 'authorization': 'Basic [hidden]'",
        ),
        (f"rejected {JWT}, sorry", "rejected [hidden], sorry"),
        (
            "a\n-----BEGIN EC PRIVATE KEY-----\nMHcC\nxyz==\n-----END EC PRIVATE KEY-----\nb",
            "a\n[hidden]\nb",
        ),
        ("cut off: -----BEGIN PRIVATE KEY-----\nMHcC", "cut off: [hidden]"),
        ("client-key-data: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t", "client-key-data: [hidden]"),
        ('{"token": "s3cr3t-value", "a": 1}', '{"token": "[hidden]", "a": 1}'),
        ("password=hunter2;", "password=[hidden];"),
        ("api_key: 12345678", "api_key: [hidden]"),
    ],
)
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert scrubbed(text) == shown
    assert scrubbed(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "reading needs a token: send `Authorization: Bearer TOKEN`, with one of admin.token_file",
        "admin.token_file: /etc/nplb/token-2 is not a file (yet)",
        "/run/token: can't read the token: permission denied",
        "https://10.0.0.1:6443 answers 401 Unauthorized: the credentials are missing",
        "backend 10.0.0.1:30080@node-1 is down: refused",
        "frontend prod/shop/web:80/TCP listens on [2001:db8::1]:443",
        'token_file: "/etc/nplb/admin-token"',
        "bearer tokens of the file",
        "mail root@example.org: the disk of http://edge/x is full",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert scrubbed(text) == text
