"""Started by its path, with an isolated interpreter: `python -I -S .../worker '{...}'`.

So a worker needs neither site-packages nor the environment, and starts in about 25 ms.
"""

import sys


def _start() -> None:
    root = __file__.rsplit("/", 5)[0]
    sys.path[0] = root
    from nplb.dataplane.relay.worker.main import main

    main(sys.argv[1])


_start()
