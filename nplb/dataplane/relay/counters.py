"""Where each counter lives in the memory that a worker shares with control.

One file in memory per worker: a header, then rows of equal width. A frontend or a backend
has one row; control hands the rows out. Every cell is an unsigned 64-bit integer with one
writer, the worker. Open connections are not stored: they are what was taken less what has
ended.

The file is sparse, so rows that were never written cost nothing.
"""

from nplb.model.reasons import EndReason

CELL_BYTES = 8

# header cells
MAGIC = 0  # LAYOUT once the worker has mapped the memory
HEARTBEAT = 1  # monotonic milliseconds of the last turn of the worker's clock
GENERATION = 2  # the plan that the worker serves
LOOPS = 3
ACCEPT_PAUSES = 4
OPEN = 5  # connections open now
PIPES = 6  # pipes held now, idle ones included
LOG_DROPPED = 7  # log lines that were not sent
ACCESS_DROPPED = 8  # access log lines that were not sent
SOURCE_PORTS = 9  # connects that found no free source port
BURIED = 10  # control: what is counted here has been added to what dead workers left
CONNECT_TIME = 15  # microseconds, of all connects that succeeded
CONNECT_BUCKETS = 16  # connects that took up to each of CONNECT_BOUNDS, and then longer ones
HEADER_CELLS = 64

CONNECT_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds; not cumulative in memory."""

LAYOUT = 0x6E706C62_0001

# cells of a row
TAKEN = 0  # frontend: clients accepted; backend: connections established
BYTES_IN = 1
BYTES_OUT = 2
CONNECT_FAILURES = 3
CONNECT_MICROSECONDS = 4
QUEUED = 5  # frontend: clients that had to wait for a backend
RETRIES = 6  # frontend: connects after the first one of a client
ENDS = 8
ROW_CELLS = 48

MAX_ROWS = 1 << 19
FILE_BYTES = (HEADER_CELLS + MAX_ROWS * ROW_CELLS) * CELL_BYTES

REASONS: tuple[EndReason, ...] = tuple(EndReason)
END_CELL: dict[EndReason, int] = {reason: ENDS + i for i, reason in enumerate(REASONS)}

assert ENDS + len(REASONS) <= ROW_CELLS
assert CONNECT_BUCKETS + len(CONNECT_BOUNDS) + 1 <= HEADER_CELLS


def row_base(row: int) -> int:
    """The first cell of a row."""
    return HEADER_CELLS + row * ROW_CELLS
