"""`nplb status` and `nplb url` against a real admin server."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nplb.cli import main
from nplb.config.yaml import parse
from nplb.model.applied import Applied, ListenError
from nplb.model.keys import Address
from nplb.model.plan import Frontend
from nplb.web.render import render_status
from tests.support.admin import serving
from tests.support.status import frontend, status, troubled

ENV = {"NPLB_CONFIG": None, "NPLB_ADMIN": None, "NPLB_OUTPUT": None}


def nplb(*args: str, **env: str) -> Result:
    return CliRunner().invoke(main, args, env={**ENV, **env}, prog_name="nplb")


def port(
    name: str, number: int, node_port: int, *listen: Address, service: str = "web"
) -> Frontend:
    base = frontend(service, port=number, node_port=node_port)
    return replace(base, port_name=name, listen=listen or base.listen)


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    everything = status(
        port("", 80, 30080),
        port("https", 443, 30443, Address("192.0.2.7", 443), Address("2001:db8::7", 443)),
        port("postgres", 5432, 30432, Address("::", 30432), service="db"),
        replace(frontend("web", namespace="test", node_port=30081), port_name="http"),
        frontend("empty", node_port=30082, states=("refused",)),
    )
    with serving(everything) as url:
        yield url


@pytest.fixture(scope="module")
def trouble() -> Iterator[str]:
    with serving(troubled()) as url:
        yield url


def test_status_as_text(admin: str) -> None:
    result = nplb("status", "--admin", admin)
    assert result.exit_code == 0
    assert result.output.startswith("nplb 0.1.0: ready, up 60m, 5 frontends, 2 workers")
    assert "prod/shop/web:443 (https)" in result.output
    assert "  node-0  10.0.0.1:30082  down  refused" in result.output


def test_status_of_one_service_shows_all_its_nodes(admin: str) -> None:
    result = nplb("status", "shop/web", "--admin", admin)
    assert result.exit_code == 0
    assert result.output.count("passing") == 6
    assert "prod/test/web" not in result.output


def test_status_of_one_service_is_of_that_one_alone(admin: str) -> None:
    result = nplb("status", "shop/web", "--admin", admin)
    assert "2 frontends of prod/shop/web, 2 workers, 6 connections open to it" in result.output
    document = json.loads(nplb("status", "shop/web", "--admin", admin, "-o", "json").output)
    whole = json.loads(nplb("status", "--admin", admin, "-o", "json").output)
    keys = {"prod/shop/web:80/TCP", "prod/shop/web:443/TCP"}
    assert set(document["traffic"]["frontends"]) == keys
    assert len(document["traffic"]["backends"]) == 6 < len(whole["traffic"]["backends"])
    assert {one["service"] for one in document["decisions"]} <= {"prod/shop/web"}
    ports = {address.rpartition(":")[2] for address in document["verdicts"]}
    assert ports == {
        one["address"]["text"].rpartition(":")[2] for one in document["plan"]["probes"]
    }
    assert ports == {"30080", "30443"}
    assert document["traffic"]["workers"] == whole["traffic"]["workers"]


def test_status_as_json_is_the_api_document() -> None:
    one = status(frontend())
    with serving(one) as url:
        result = nplb("status", "--admin", url, "-o", "json")
        as_yaml = nplb("status", "--admin", url, "-o", "yaml")
        narrow = nplb("status", "web", "--admin", url, "-o", "json")
    document = json.loads(result.output)
    assert document == json.loads(json.dumps(render_status(one)))
    assert parse(as_yaml.output, file="-")[0].value == document
    assert json.loads(narrow.output) == document


def test_the_admin_server_of_the_configuration_is_asked(tmp_path: Path) -> None:
    with serving(status(frontend())) as url:
        path = tmp_path / "nplb.yaml"
        listen = url.removeprefix("http://").replace("127.0.0.1", "0.0.0.0")
        path.write_text(
            f"clusters: [{{name: a, kubernetes: {{}}}}]\nadmin: {{listen: '{listen}'}}\n"
        )
        assert nplb("status", "--config", str(path)).exit_code == 0
        assert nplb("status", NPLB_CONFIG=str(path)).exit_code == 0
        assert nplb("status", NPLB_ADMIN=url).exit_code == 0
        bare = url.removeprefix("http://")
        assert nplb("status", "--admin", bare).exit_code == 0
        # --admin goes before the configuration, which is not even read.
        assert nplb("status", "--admin", url, "--config", "/nonexistent").exit_code == 0


@pytest.mark.parametrize(
    "wrong", ["clusters: [{name: a, kubernetes: {}}]\nhelth: {}", "clusters: []", "log: {level: x}"]
)
def test_a_configuration_that_is_wrong_does_not_hide_what_runs(tmp_path: Path, wrong: str) -> None:
    with serving(status(frontend())) as url:
        path = tmp_path / "nplb.yaml"
        listen = url.removeprefix("http://")
        path.write_text(f"admin: {{listen: '{listen}'}}\n{wrong}\n")
        result = nplb("status", "--config", str(path))
    assert result.exit_code == 0, result.stderr
    assert f"note: {path} is wrong, `nplb check` says how (" in result.stderr
    assert f"asking {listen} for what runs" in result.stderr
    assert "prod/shop/web:80" in result.stdout


def test_a_configuration_that_cannot_be_read_gives_the_usual_place(tmp_path: Path) -> None:
    path = tmp_path / "nplb.yaml"
    path.write_text("log: [x\n")
    result = nplb("status", "--config", str(path))
    assert f"{path} is wrong, `nplb check` says how (1 error)" in result.stderr
    assert "asking 127.0.0.1:9090 for what runs" in result.stderr


def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = nplb("status", "--config", str(tmp_path / "absent.yaml"))
    assert result.exit_code == 78
    assert "there is no such file" in result.stderr


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("off", "admin.listen is off, so a running nplb can't be asked"),
        ("127.0.0.1:0", "admin.listen has port 0, which the system chooses: name the URL with"),
    ],
)
def test_a_configuration_without_an_address_to_ask(
    tmp_path: Path, listen: str, message: str
) -> None:
    path = tmp_path / "nplb.yaml"
    path.write_text(f"clusters: [{{name: a, kubernetes: {{}}}}]\nadmin: {{listen: '{listen}'}}\n")
    result = nplb("status", "--config", str(path))
    assert result.exit_code == 78
    assert f"{path}: {message}" in result.stderr


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Something that takes one connection and says this."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(30)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "does not answer with JSON: is it another program's"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", "answers, but not as nplb does"),
        (b"HTTP/1.0 200 OK\r\n\r\n[]", "answers, but not as nplb does"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nno", "/api/v1/status answers 404: Not Found"),
        (
            b'HTTP/1.0 401 Unauthorized\r\n\r\n{"error": {"message": "a token is needed"}}',
            "answers 401: a token is needed",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "can't be asked: "),
        (b"", "can't be asked: "),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n{",
            "broke its answer off, is nplb ending?",
        ),
    ],
)
def test_answers_of_something_else(answer: bytes, message: str) -> None:
    with answering(answer) as url:
        result = nplb("status", "--admin", url)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"nplb: {url}")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("answer", [b"{}", b"[]"])
@pytest.mark.parametrize("command", [["ports"], ["explain", "default/web"], ["drain", "node-1"]])
def test_no_command_takes_another_programs_answer(command: list[str], answer: bytes) -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\n" + answer) as url:
        result = nplb(*command, "--admin", url)
    assert result.exit_code == 1
    assert f"nplb: {url} answers, but not as nplb does" in result.stderr


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    result = nplb("status", "--admin", url)
    assert result.exit_code == 1
    assert f"nplb: nothing listens at {url}: is nplb running there?" in result.stderr


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://h:port", "http://u:p@h", "", "h:0"])
def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    result = nplb("status", "--admin", url)
    assert result.exit_code == 2
    assert "is not a URL such as http://127.0.0.1:9090" in result.stderr


@pytest.mark.parametrize(
    ("args", "urls"),
    [
        (["test/web"], ["http://127.0.0.1:30081"]),
        (["prod/test/web"], ["http://127.0.0.1:30081"]),
        (["shop/web"], ["http://127.0.0.1:30080", "https://192.0.2.7:443"]),
        (["shop/web", "--port", "https"], ["https://192.0.2.7:443"]),
        (["shop/web", "--port", "443"], ["https://192.0.2.7:443"]),
        (["shop/web", "--port", "30443"], ["https://192.0.2.7:443"]),
        (["shop/web:80"], ["http://127.0.0.1:30080"]),
        (
            ["shop/web:https", "--all"],
            ["https://192.0.2.7:443", "https://[2001:db8::7]:443"],
        ),
        (["db"], ["tcp://[::1]:30432"]),
        (["empty"], ["http://127.0.0.1:30082"]),
    ],
)
def test_urls(admin: str, args: list[str], urls: list[str]) -> None:
    result = nplb("url", *args, "--admin", admin)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == urls
    assert ("no node to send clients to" in result.stderr) == (args == ["empty"])


def test_url_as_json(admin: str) -> None:
    result = nplb("url", "shop/web:https", "--admin", admin, "-o", "json")
    assert json.loads(result.output) == [
        {
            "service": "prod/shop/web",
            "port": 443,
            "port_name": "https",
            "node_port": 30443,
            "state": "serving",
            "listen": "192.0.2.7:443",
            "url": "https://192.0.2.7:443",
        }
    ]


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("web", "several services are called web: prod/shop/web, prod/test/web; name one of them"),
        ("wbe", "no service wbe: did you mean prod/"),
        ("shop/wbe", "no service shop/wbe: did you mean prod/shop/web?"),
        ("xyzzy", "no service xyzzy: `nplb status` lists them"),
        ("lab/shop/web", "no service lab/shop/web: did you mean prod/shop/web?"),
        ("shop/web:8080", "prod/shop/web has no port 8080 that is served; served: 80, https"),
        ("shop/web:", "prod/shop/web has no port  that is served"),
    ],
)
def test_names_that_fit_nothing(admin: str, service: str, message: str) -> None:
    result = nplb("url", service, "--admin", admin)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"nplb: {message}" in result.stderr


def test_the_port_is_named_once(admin: str) -> None:
    result = nplb("url", "shop/web:80", "--port", "80", "--admin", admin)
    assert result.exit_code == 2


def test_services_that_are_not_served_say_why(trouble: str) -> None:
    result = nplb("url", "dns", "--admin", trouble)
    assert result.exit_code == 1
    assert "prod/dns/dns:53/UDP is not served: UDP is not carried" in result.stderr
    result = nplb("url", "api", "--admin", trouble)
    assert result.exit_code == 1
    assert (
        "prod/shop/api:80/TCP does not listen (conflict): held by process 4711 (nginx)"
        in result.stderr
    )


def test_an_address_that_does_not_listen_is_passed_over() -> None:
    two = port("http", 80, 30080, Address("192.0.2.7", 80), Address("192.0.2.8", 80))
    error = ListenError(address=two.listen[0], in_use=True, detail="in use")
    one = status(two, applied=Applied(generation=7, listen_errors={two.key: (error,)}))
    with serving(one) as url:
        assert nplb("url", "web", "--admin", url).output == "http://192.0.2.8:80\n"


def test_nothing_applied_yet_and_nothing_at_all() -> None:
    with serving(status(frontend(), applied=None)) as url:
        result = nplb("url", "web", "--admin", url)
        assert result.exit_code == 1
        assert "does not listen (pending): it is planned, not applied yet" in result.stderr
    with serving(status()) as url:
        result = nplb("url", "web", "--admin", url)
        assert "no service web: nplb serves none at all, `nplb status` says why" in result.stderr
