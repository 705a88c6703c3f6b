"""What is wrong with a configuration, as values: where, which key, what to do."""

from dataclasses import dataclass

from nplb.model.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem:
    """One thing that is wrong, or looks so.

    `file` is the file's name, or says which flag or variable of the environment the value came
    from; `line` and `column` count from 1, 0 where there is none. `path` is the key's, as in
    `frontends[0].listen`, empty for the file as a whole. Prints as
    `file:line:column: path: message`.
    """

    file: str
    line: int = 0
    column: int = 0
    path: str = ""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class InvalidConfiguration(ConfigurationError):
    """A configuration that can't be taken. `errors` has everything that is wrong, in the order
    of the file; the message has one line for each."""

    def __init__(self, errors: tuple[ConfigProblem, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


def spelled(path: tuple[str | int, ...]) -> str:
    """A path as messages spell it: `clusters[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
