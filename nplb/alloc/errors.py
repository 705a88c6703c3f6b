"""What the allocator says, and what the API server makes of it.

The texts are those of `pkg/registry/core/service/portallocator/allocator.go`,
`pkg/registry/core/service/storage/alloc.go` and `k8s.io/apimachinery/pkg/api/errors`.
"""

from enum import StrEnum

from nplb.model.errors import ClusterError


class AllocatorError(ClusterError):
    """The allocator can't do what it was asked; the text is kube-apiserver's."""


class RangeFull(AllocatorError):
    """No number is left (`ErrFull`)."""

    def __init__(self) -> None:
        super().__init__("range is full")


class PortAllocated(AllocatorError):
    """Somebody holds that number (`ErrAllocated`)."""

    def __init__(self) -> None:
        super().__init__("provided port is already allocated")


class PortNotInRange(AllocatorError):
    """The number is outside of the range (`ErrNotInRange`)."""

    def __init__(self, valid_ports: object) -> None:
        super().__init__(
            f"provided port is not in the valid range. The range of valid ports is {valid_ports}"
        )


class MismatchedRange(AllocatorError):
    """A snapshot of another range (`ErrMismatchedNetwork`)."""

    def __init__(self) -> None:
        super().__init__("the provided port range does not match the current port range")


class CauseType(StrEnum):
    """`reason` of a cause in a Status: what is wrong with a field (metav1.CauseType)."""

    INVALID = "FieldValueInvalid"
    FORBIDDEN = "FieldValueForbidden"


class Refused(ClusterError):
    """The API server would refuse this Service.

    `code` is the HTTP status; `reason` the Status's reason (`Invalid`, `InternalError`, or
    empty for an error that the API server does not classify); `field`, `bad_value` and `cause`
    say which field an Invalid is about; `detail` is the text behind them.
    """

    def __init__(
        self,
        *,
        code: int,
        reason: str,
        detail: str,
        field: str = "",
        bad_value: int | None = None,
        cause: CauseType = CauseType.INVALID,
    ) -> None:
        self.code = code
        self.reason = reason
        self.field = field
        self.bad_value = bad_value
        self.detail = detail
        self.cause = cause
        super().__init__(f"{field}: {self.cause_message}" if field else detail)

    @property
    def cause_message(self) -> str:
        """The text about the field, without its name, as in a Status's `details.causes`."""
        if not self.field:
            return self.detail
        if self.cause is CauseType.FORBIDDEN:
            return f"Forbidden: {self.detail}"
        return f"Invalid value: {self.bad_value}: {self.detail}"

    def api_message(self, kind: str, name: str) -> str:
        """The Status's `message`, exactly as the API server writes it."""
        if self.reason == "Invalid":
            return f'{kind} "{name}" is invalid: {self.field}: {self.cause_message}'
        if self.reason == "InternalError":
            return f"Internal error occurred: {self.detail}"
        return self.detail


def refused_node_port(index: int, node_port: int, error: AllocatorError) -> Refused:
    """An explicit nodePort that can't be had: 422 on `spec.ports[index].nodePort`."""
    return Refused(
        code=422,
        reason="Invalid",
        field=f"spec.ports[{index}].nodePort",
        bad_value=node_port,
        detail=str(error),
    )


def internal_error(detail: str, number: int | None = None) -> Refused:
    """A request that fails for want of a number: 500, InternalError. `number` is the one that
    was asked for, if one was."""
    return Refused(code=500, reason="InternalError", detail=detail, bad_value=number)
