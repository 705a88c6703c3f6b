"""How keys are declared: the base of all sections, and fields with defaults and descriptions."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from nplb.config.values import show_duration

DAY: Final = 86400.0


class Section(BaseModel):
    """A mapping of the file. Unknown keys are refused before a model sees them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def key(default: Any, description: str, *, shown: Any = None) -> Any:
    """A key with a default; `shown` is how the file would write it, where that differs."""
    extra = {} if shown is None else {"default": shown}
    return Field(default=default, description=description, json_schema_extra=extra)


def duration(default: float, description: str) -> Any:
    """A key that holds a duration in seconds, 0 where it may be `off`."""
    return key(default, description, shown=show_duration(default))


def off(default: float, description: str) -> Any:
    """A key that is `off` when it is 0."""
    return key(default, description, shown=default or "off")


def off_duration(default: float, description: str) -> Any:
    """A key that holds a duration in seconds, and is `off` when it is 0."""
    return key(default, description, shown="off" if not default else show_duration(default))


def section(kind: type[Section]) -> Any:
    """A key that holds a section, described by the section's own docstring."""
    return Field(default=kind(), description=kind.__doc__ or "")
