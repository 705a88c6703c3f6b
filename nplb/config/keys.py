"""How keys are declared: the base of all sections, and fields with defaults and descriptions."""

from typing import Any, Final, get_args

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


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, or None if it holds a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def message_of(detail: Any) -> str:
    """What pydantic found wrong with a value, in the words of whoever reads values of its kind."""
    if detail["type"] == "missing":
        return "is missing, write it"
    raised = detail.get("ctx", {}).get("error")
    return str(raised) if raised is not None else str(detail["msg"])
