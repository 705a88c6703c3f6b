"""Many connections at once, held by processes of their own.

`python crowd.py echo IP` serves echo and prints its port. `python crowd.py hold IP PORT COUNT`
opens COUNT connections, prints "held", and then, for each line on its standard input, sends a
word of its own over every connection, checks the answers, and prints "ok". Both end when
their standard input does.
"""

import resource
import selectors
import socket
import sys
from typing import Any

WORD = 12


def _raise_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve_echo(ip: str) -> None:
    """Echo whatever comes, until standard input ends."""
    _raise_limit()
    selector = selectors.DefaultSelector()
    server = socket.create_server((ip, 0), backlog=4096)
    server.setblocking(False)
    selector.register(server, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print(server.getsockname()[1], flush=True)
    while True:
        for key, _ in selector.select():
            sock: Any = key.fileobj
            if sock is sys.stdin:
                return
            if sock is server:
                conn, _ = server.accept()
                selector.register(conn, selectors.EVENT_READ)
                continue
            try:
                data = sock.recv(4096)
                if data:
                    sock.sendall(data)
            except ConnectionError:
                data = b""
            if not data:
                selector.unregister(sock)
                sock.close()


def hold(ip: str, port: int, count: int) -> None:
    """Hold connections and use them when told to."""
    _raise_limit()
    held = []
    for _ in range(count):
        sock = socket.create_connection((ip, port), 30)
        held.append(sock)
    print("held", flush=True)
    for turn, _ in enumerate(sys.stdin):
        words = [f"{turn:4d}{i:8d}".encode() for i in range(count)]
        for sock, word in zip(held, words, strict=True):
            sock.sendall(word)
        for sock, word in zip(held, words, strict=True):
            answer = b""
            while len(answer) < WORD:
                piece = sock.recv(WORD)
                if not piece:
                    raise SystemExit("a connection was closed")
                answer += piece
            if answer != word:
                raise SystemExit(f"sent {word!r}, got {answer!r}")
        print("ok", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        serve_echo(sys.argv[2])
    else:
        hold(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
