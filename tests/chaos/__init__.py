"""Faults replayed one after another, with clients at work throughout.

    python -m tests.chaos [--minutes 10] [--only WORD] [--list]

Law: everything is real: a lab on loopback, `nplb run` as a process of its own, clients that open
connections and check every answer. No request may fail, but for connections that were established
before a fault that ends connections by its nature (a node dies, a pod dies), and that no balancer
can save.

fault    an async function that does something bad, waits, and mends it; it stands in a list of
         `tests.chaos.faults`
scene    what a fault acts on: the stage of the demo, and the measures that are taken
record   what was seen during one fault; `report` prints them and judges

To add a fault, write a function that takes a Scene, put `@fault("name")` on it, and import its
module in `tests.chaos.faults`.
"""
