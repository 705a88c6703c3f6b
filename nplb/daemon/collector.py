"""How often the control process looks for garbage in cycles: rarely.

Python's collector looks through the youngest objects whenever 700 more were made than freed, and
through all of them when those that stayed are a quarter more. Values of the model make no cycles,
and control holds a million of them for a large cluster: while a first plan is made, a fifth of the
time would go into looking at them again and again, and later now and then a fifth of a second, in
which nothing is served anew and no probe is judged. What does make cycles (an exception with its
frames, a connection that has ended) is small, and can wait until there is much of it.
"""

import gc

YOUNG = 100_000
"""So many more objects made than freed: about 10 MB at most if all of them are garbage."""


def collect_rarely() -> None:
    """From now on, in this process."""
    _, middle, old = gc.get_threshold()
    gc.set_threshold(YOUNG, middle, old)
