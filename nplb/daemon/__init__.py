"""One balancer: its parts wired together, and its life from start to end.

Law: nothing that serves a client lives in this process, so it may be reloaded, upgraded, killed
and started again, and clients notice nothing. What must outlive it is kept by the relay's workers
and by the kernel.

parts      the parts, wired together
balancer   start, serve, wind down
reload     another configuration: validated whole, swapped whole
changes    what a reload changes, in words
handover   an upgrade, from the side that ends
line       what both sides of an upgrade say to each other
state      what one control process hands on to the next
codec      values of the model as JSON and back
place      where the runtime directory is
watch      whether a file has changed
collector  how often garbage is looked for
"""

from nplb.daemon.balancer import run_daemon

__all__ = ["run_daemon"]
