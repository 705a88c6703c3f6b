"""YAML to settings: reads, checks everything at once, and says what to do.

Law: only this package knows pydantic and YAML, and that there is a file. What others get is
`model.settings`, or every error with its line. Importing the package is cheap: pydantic is
loaded when a configuration is.

yaml, nodes, scalars, syntax, dump     YAML 1.2 with the place of every value
values, fields, keys                   what a key can hold, and how keys are declared
document, connections, health, pools   every key, as pydantic models
sections, checks, planes, build        plain values to sections, to errors, to Settings
prefixfiles, cpus                      files that keys name, and what `auto` means
annotations, annotationkeys            the same keys on Services
load                                   file, environment and flags in, Settings out
schema                                 the JSON schema of the file
words, errors                          how mistakes are told
"""

from collections.abc import Mapping
from pathlib import Path

from nplb.config.errors import ConfigProblem, InvalidConfiguration
from nplb.model.settings import Settings

__all__ = ["ConfigProblem", "InvalidConfiguration", "load_settings"]


def load_settings(
    path: Path | str,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a configuration file; see `load.load_configuration`.

    Raises InvalidConfiguration with every error, HostPermissionError if the file may not be
    read.
    """
    from nplb.config import load

    return load.load_configuration(path, env=env, overrides=overrides).settings
