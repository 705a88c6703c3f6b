"""Takes from a worker every right that carrying bytes does not need.

Its sockets listen when it gets them, so it needs no capability, also where control has some: for
ports below 1024, for the kernel plane, or all of them as root. What it can't do, it can't be made
to do by whoever finds a flaw in it.
"""

_SET_NO_NEW_PRIVS = 38  # prctl(2)
_CAPABILITY_VERSION_3 = 0x20080522  # capset(2)


def drop_rights() -> bool:
    """No capability from now on, nor by anything that is executed. Whether the system has done
    so; a system that knows none of this has nothing to take."""
    import ctypes  # costs some milliseconds, once

    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice 32 bits each
    dropped = libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    return bool(libc.capset(header, none) == 0 and dropped)
