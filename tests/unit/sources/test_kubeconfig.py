"""Where credentials come from, and that every mistake is named without showing a value."""

import json
from pathlib import Path
from typing import Any

import pytest

from nplb.model.errors import ConfigurationError
from nplb.model.settings import KubernetesSource
from nplb.sources.kubernetes.kubeconfig import Access, find_access

SECRET = "a-very-secret-token"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "current-context": "prod",
        "contexts": [
            {"name": "prod", "context": {"cluster": "c1", "user": "u1"}},
            {"name": "test", "context": {"cluster": "c2"}},
        ],
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://192.0.2.1:6443/"}},
            {"name": "c2", "cluster": {"server": "http://192.0.2.2:8080"}},
        ],
        "users": [{"name": "u1", "user": {"token": SECRET}}],
        **changes,
    }


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return path


def find(path: Path | None = None, context: str | None = None, **environ: str) -> Access:
    return find_access(KubernetesSource(kubeconfig=path, context=context), environ=environ)


def problem(path: Path | None = None, context: str | None = None, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        find(path, context, **environ)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_the_current_context(tmp_path: Path) -> None:
    path = write(tmp_path / "config", document())
    access = find(path)
    assert access.server == "https://192.0.2.1:6443"
    assert access.user == {"token": SECRET}
    assert access.origin == f"kubeconfig {path}, context prod"
    assert SECRET not in repr(access)


def test_a_context_without_a_user(tmp_path: Path) -> None:
    access = find(write(tmp_path / "config", document()), "test")
    assert access.server == "http://192.0.2.2:8080"
    assert access.user == {}


def test_relative_paths_belong_to_their_file(tmp_path: Path) -> None:
    clusters = [{"name": "c1", "cluster": {"server": "https://x", "certificate-authority": "ca"}}]
    plugin = {"command": "./bin/login", "apiVersion": "client.authentication.k8s.io/v1"}
    user = {"client-certificate": "/etc/me.pem", "client-key": "keys/me.key", "exec": plugin}
    path = write(
        tmp_path / "sub" / "config",
        document(clusters=clusters, users=[{"name": "u1", "user": user}]),
    )
    access = find(path)
    assert access.cluster["certificate-authority"] == str(tmp_path / "sub" / "ca")
    assert access.user["client-certificate"] == "/etc/me.pem"
    assert access.user["client-key"] == str(tmp_path / "sub" / "keys/me.key")
    assert access.user["exec"]["command"] == str(tmp_path / "sub" / "bin/login")


def test_a_plugin_without_a_slash_is_looked_up_on_path(tmp_path: Path) -> None:
    user = {"exec": {"command": "aws", "apiVersion": "client.authentication.k8s.io/v1"}}
    path = write(tmp_path / "config", document(users=[{"name": "u1", "user": user}]))
    assert find(path).user["exec"]["command"] == "aws"


def test_kubeconfig_lists_several_files_and_the_first_to_say_something_wins(
    tmp_path: Path,
) -> None:
    first = write(
        tmp_path / "a",
        {"clusters": [{"name": "c1", "cluster": {"server": "https://first"}}], "users": None},
    )
    second = write(tmp_path / "b", document())
    missing = tmp_path / "missing"
    access = find(KUBECONFIG=f"{missing}:{first}:{second}")
    assert access.server == "https://first"
    assert access.user == {"token": SECRET}
    assert access.origin == f"kubeconfig {first}, context prod"


def test_the_configured_file_comes_before_kubeconfig(tmp_path: Path) -> None:
    path = write(tmp_path / "config", document())
    assert find(path, "test", KUBECONFIG=str(tmp_path / "gone")).server == "http://192.0.2.2:8080"


def test_the_default_file_is_in_the_home_directory(tmp_path: Path) -> None:
    write(tmp_path / ".kube" / "config", document())
    assert find(HOME=str(tmp_path)).server == "https://192.0.2.1:6443"


@pytest.mark.parametrize(
    ("host", "server"),
    [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")],
)
def test_in_a_pod_the_service_account_is_used(tmp_path: Path, host: str, server: str) -> None:
    write(tmp_path / "token", SECRET)
    access = find_access(
        KubernetesSource(),
        environ={"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"},
        service_account=tmp_path,
    )
    assert access.server == server
    assert access.user == {"tokenFile": str(tmp_path / "token")}
    assert access.cluster["certificate-authority"] == str(tmp_path / "ca.crt")


def test_files_that_are_missing(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert f"kubeconfig {gone} does not exist" in problem(gone)
    assert f"kubeconfig {gone} does not exist: check KUBECONFIG" in problem(KUBECONFIG=str(gone))
    assert f"kubeconfig {tmp_path}/.kube/config does not exist" in problem(HOME=str(tmp_path))


def test_what_can_not_be_read(tmp_path: Path) -> None:
    assert "can't be read: is a directory" in problem(tmp_path).lower()
    (tmp_path / "config").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8" in problem(tmp_path / "config")


def test_a_file_that_is_no_yaml_gives_its_place_and_not_its_text(tmp_path: Path) -> None:
    path = write(tmp_path / "config", f"users:\n- token: [{SECRET}\n  x: '{SECRET}")
    found = problem(path)
    assert found.startswith(f"kubeconfig {path}:")
    assert "not valid YAML" in found


@pytest.mark.parametrize("content", ["", "just text", "[]", "3"])
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, content: str) -> None:
    assert "must be a mapping with clusters" in problem(write(tmp_path / "config", content))


def test_a_wrong_context_names_those_that_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "config", document())
    assert "has no context 'prd'" in problem(path, "prd")
    assert "it has: prod, test" in problem(path, "prd")


def test_no_current_context(tmp_path: Path) -> None:
    changes = {"current-context": ""}
    path = write(tmp_path / "config", document(**changes))
    assert "no current-context" in problem(path)
    assert "it has: prod, test" in problem(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contexts": {}}, "contexts must be a list"),
        ({"users": [{"user": {"token": SECRET}}]}, "users[0] must have a name"),
        ({"users": [{"name": "u1", "user": SECRET}]}, "users[0].user must be a mapping"),
        ({"clusters": []}, "names a cluster that is not among its clusters"),
        ({"users": []}, "names a user that is not among its users"),
        ({"clusters": [{"name": "c1", "cluster": {}}]}, "cluster c1: server must be an address"),
        (
            {"clusters": [{"name": "c1", "cluster": {"server": "192.0.2.1:6443"}}]},
            "cluster c1: server must be an address such as https://",
        ),
        (
            {"clusters": [{"name": "c1", "cluster": {"server": "https://[::1"}}]},
            "cluster c1: server must be an address such as https://",
        ),
        (
            {"clusters": [{"name": "c1", "cluster": {"server": "https://x:99999"}}]},
            "cluster c1: server must be an address such as https://",
        ),
        (
            {"clusters": [{"name": "c1", "cluster": {"server": f"https://me:{SECRET}@x"}}]},
            "cluster c1: server holds a name or password",
        ),
        (
            {"users": [{"name": "u1", "user": {"token": SECRET, "as": "admin"}}]},
            "user u1: as: nplb does not impersonate",
        ),
    ],
)
def test_a_damaged_kubeconfig(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "config", document(**changes))
    found = problem(path)
    assert words in found
    assert str(path) in found
