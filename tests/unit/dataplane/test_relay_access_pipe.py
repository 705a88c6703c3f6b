"""Control's end of the access log's pipe."""

import os

from nplb.dataplane.relay.accesspipe import AccessPipe
from nplb.dataplane.relay.safe import ACCESS_WRITE, Safe


def test_before_there_is_a_pipe_nothing_is_read() -> None:
    heard: list[bytes] = []
    pipe = AccessPipe(Safe(lambda *_: None, lambda _: None), heard.append)
    pipe.read()  # as the end does, also of a start that came to nothing
    pipe.stop()
    assert not heard


def test_lines_are_passed_on_whole_and_half_of_a_first_one_is_left_out() -> None:
    heard: list[bytes] = []
    safe = Safe(lambda *_: None, lambda _: None)
    safe.fill()
    try:
        pipe = AccessPipe(safe, heard.append)
        pipe.began_before = True
        for piece in (b'n":1}\n{"at":2}\n{"at"', b':3}\n{"at":4}', b"\n"):
            os.write(safe.get(ACCESS_WRITE), piece)
            pipe.read()
        pipe.read()  # nothing more has come
    finally:
        safe.close()
    assert b"".join(heard) == b'{"at":2}\n{"at":3}\n{"at":4}\n'
    assert not pipe.rest
