"""Runs a kubeconfig's exec plugin, which makes credentials (EKS, GKE, AKS, Vault and the like).

Mirrors client-go `plugin/pkg/client/auth/exec`. The client library's own runner has no deadline,
waits for ever on a plugin that fills its error pipe, and logs what the plugin says.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Mapping
from typing import Any

from nplb.model.errors import ConfigurationError
from nplb.model.secrets import scrubbed
from nplb.sources.kubernetes.kubeconfig import Access

DEADLINE_SECONDS = 60.0
_MAX_STDERR = 500


async def run_exec_plugin(
    access: Access, *, deadline_seconds: float = DEADLINE_SECONDS
) -> dict[str, str]:
    """Run the plugin of `access` and return the user entry that it makes: any of `token`,
    `client-certificate-pem`, `client-key-pem`.

    The plugin inherits this process' environment and is killed after the deadline.

    Errors: ConfigurationError saying what the plugin did and what to do. What it wrote to its
    standard output is a credential and never shown; its standard error is, shortened.
    """
    plugin = access.user["exec"]
    command = plugin.get("command") if isinstance(plugin, Mapping) else None
    version = plugin.get("apiVersion") if isinstance(plugin, Mapping) else None
    if not isinstance(command, str) or not command or not isinstance(version, str):
        raise ConfigurationError(f"{access.origin}: exec must have a command and an apiVersion")
    output = await _run(access, command, _arguments(access, plugin), plugin, deadline_seconds)
    return _credential(access, command, version, output)


def _arguments(access: Access, plugin: Mapping[str, Any]) -> list[str]:
    arguments = plugin.get("args") or []
    if not isinstance(arguments, list):
        raise ConfigurationError(f"{access.origin}: exec.args must be a list of strings")
    return [str(argument) for argument in arguments]


def _environment(access: Access, plugin: Mapping[str, Any]) -> dict[str, str]:
    environment = dict(os.environ)
    listed = plugin.get("env") or []
    for entry in listed if isinstance(listed, list) else [listed]:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise ConfigurationError(f"{access.origin}: exec.env must be a list of name and value")
        environment[entry["name"]] = str(entry.get("value") or "")
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo") is True:
        spec["cluster"] = {
            key: value
            for key, value in access.cluster.items()
            if key in ("server", "tls-server-name", "insecure-skip-tls-verify")
            or key in ("certificate-authority-data", "proxy-url")
        }
    info = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(info)
    return environment


async def _run(
    access: Access,
    command: str,
    arguments: list[str],
    plugin: Mapping[str, Any],
    deadline_seconds: float,
) -> bytes:
    environment = _environment(access, plugin)
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A group of its own, so that what the plugin started ends with it.
            start_new_session=True,
        )
    except OSError as error:
        hint = plugin.get("installHint")
        advice = hint.strip() if isinstance(hint, str) and hint.strip() else "install it"
        # A directory of PATH that may not be looked into hides what the error is about.
        missing = "/" not in command and shutil.which(command, path=environment.get("PATH")) is None
        problem = "it is in no directory of PATH" if missing else error.strerror
        raise ConfigurationError(
            f"{access.origin}: the exec plugin {command} can't be run: {problem}; {advice}"
        ) from None
    try:
        async with asyncio.timeout(deadline_seconds):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        raise ConfigurationError(
            f"{access.origin}: the exec plugin {command} did not end within "
            f"{deadline_seconds:g} s; run it by hand to see what it waits for"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()
    if process.returncode != 0:
        said = stderr.decode(errors="replace").strip()[-_MAX_STDERR:]
        raise ConfigurationError(
            f"{access.origin}: the exec plugin {command} ended with exit code "
            f"{process.returncode}: {scrubbed(said) or 'it said nothing'}"
        )
    return stdout


def _credential(access: Access, command: str, version: str, output: bytes) -> dict[str, str]:
    def wrong(problem: str) -> ConfigurationError:
        return ConfigurationError(f"{access.origin}: the exec plugin {command} {problem}")

    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        raise wrong("did not answer with JSON; run it by hand to see what it writes") from None
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise wrong("did not answer with an ExecCredential; is it the right command?")
    if answer.get("apiVersion") != version:
        raise wrong(f"answers with another apiVersion than {version}; correct exec.apiVersion")
    status = answer.get("status")
    if not isinstance(status, dict):
        raise wrong("answered without a status; is it logged in?")
    names = {
        "token": "token",
        "clientCertificateData": "client-certificate-pem",
        "clientKeyData": "client-key-pem",
    }
    user = {
        ours: value
        for theirs, ours in names.items()
        if isinstance(value := status.get(theirs), str) and value
    }
    if not user:
        raise wrong("answered without a token or client certificate; is it logged in?")
    return user
