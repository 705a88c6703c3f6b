"""The kernel plane's fast path: an eBPF program that translates TCP before netfilter sees it.

Law: the table beneath is complete. Whatever the program does not know, has no room for or fails
to load for goes by the table, and no client notices. What packets need is in the kernel and stays
there without nplb. README.md shows the packet's way.

fastpath.bpf.c  the program; `make bpf` compiles it
bpf             the system call bpf(2): maps, programs, pins
program         the compiled program, made ready for the kernel
layout          what its maps hold, as bytes and as values
tables          from a plan's frontends to what the maps should hold; pure
census          which connections are open, and which have had their time; pure
tally           what has been moved to and from each node's port; pure
connections     counts those that the maps hold, forgets them in their time, ends them
devices         at which interfaces it is
fastpath        `FastPath`: keeps all of it as the plans say
survey          what is there, read beside whoever keeps it
"""
