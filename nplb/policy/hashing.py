"""Hashes that are the same on every machine, in every process, in every run.

Python's own `hash` of text differs from process to process. These are for spreading, not
for secrets.
"""

MASK = (1 << 64) - 1


def mix(value: int) -> int:
    """A 64-bit number whose every bit depends on every bit of `value` (splitmix64)."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def text_hash(text: str) -> int:
    """The 64-bit hash of a text (FNV-1a, mixed)."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return mix(value)
