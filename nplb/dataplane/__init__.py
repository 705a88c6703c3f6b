"""What moves the bytes. A plane takes whole plans and says what it made of them.

Law: a plane compares the plan with what it really has, so the same plan applied twice
changes nothing, and a whole plan after a failure repairs everything. Planes do not know
each other, nor where plans come from.

relay    worker processes, in user space
kernel   rules in the kernel
split    a plane of the two: each frontend where it wants to be, moved without a gap
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a relay worker passes through here, and starts without the model
    from nplb.model.applied import Applied, Traffic
    from nplb.model.plan import Plan


class Plane(Protocol):
    """What every plane can do."""

    async def apply(self, plan: Plan) -> Applied:
        """Make the whole plan so, and say what of it could not be made so."""

    def traffic(self) -> Traffic:
        """All counters at this moment."""
