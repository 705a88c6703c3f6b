"""A writer of the port book is killed at any moment: what is there afterwards is a whole book."""

import random
import signal
import subprocess
import sys
from pathlib import Path

from nplb.alloc.portrange import DEFAULT_PORT_RANGE
from nplb.sources.portbook import PortBook

WRITER = """
import random, sys
from pathlib import Path
from nplb.alloc.portrange import DEFAULT_PORT_RANGE
from nplb.model.cluster import Service, ServicePort
from nplb.model.keys import ServiceKey
from nplb.sources.portbook import PortBook

book = PortBook(Path(sys.argv[1]), DEFAULT_PORT_RANGE, random.Random(1))
count = 0
while True:
    count += 1
    services = [
        Service(key=ServiceKey("c", "n", f"s{i}"), ports=(ServicePort(port=80),))
        for i in range(count % 50, count % 50 + 200)
    ]
    given = book.assign(services)
    print(given.services[0].key.name, given.services[0].ports[0].node_port, flush=True)
"""
KILLS = 8


def test_a_kill_leaves_the_old_book_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    dice = random.Random(8)
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        told = ""
        for _ in range(dice.randrange(1, 25)):
            told = writer.stdout.readline()
        assert told, writer.stderr.read() if writer.stderr else ""
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().splitlines()
        writer.wait()
        writer.stdout.close()
        assert writer.stderr is not None
        writer.stderr.close()
        name, number = (rest[-1] if rest else told).split()
        kept = {
            booked.name: booked.ports[0].node_port
            for booked in PortBook(path, DEFAULT_PORT_RANGE, dice).booked
        }
        assert len(kept) == 200
        # What was told after the write is there, unless the next write dropped that Service.
        assert kept.get(name, int(number)) == int(number)
        assert not path.with_name(path.name + ".damaged").exists()
