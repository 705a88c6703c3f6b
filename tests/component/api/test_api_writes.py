"""Writes over HTTP: who may, what is refused, conflicts, deletion, namespaces, pods."""

import io
import json
import random
import ssl
from typing import Any

import aiohttp
import pytest

from nplb.lab.api.server import ApiServer
from nplb.model.errors import HostError
from tests.support.api import Client, api, make_api, send, service, until

__all__ = ["api", "send"]

SERVICES = "/api/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


def _pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "example.com/app:1"}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        (SERVICES, None, 401),
        (SERVICES, "wrong", 401),
        ("/version", None, 200),
        ("/livez", None, 200),
        ("/readyz", "wrong", 401),
        ("/apis", None, 401),
        ("/openapi/v3", None, 401),
    ],
)
async def test_who_may_read_what(send: Client, path: str, token: str | None, status: int) -> None:
    answer = await send("GET", path, token=token)
    assert answer.status == status
    if status == 401:
        assert answer.body["message"] == "Unauthorized"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (
            b"",
            "application/json",
            400,
            (
                "the object provided is unrecognized (must be of type Service): couldn't get "
                "version/kind; json parse error: unexpected end of JSON input (<empty>)"
            ),
        ),
        (
            b"not json at all, and long enough to be cut",
            "application/json",
            400,
            (
                "the object provided is unrecognized (must be of type Service): couldn't get "
                "version/kind; json parse error: invalid character 'n' looking for beginning of "
                f"value ({b'not json at all, and long enou'.hex()} ...)"
            ),
        ),
        (
            b'{"kind":"Pod","apiVersion":"v1"}',
            "application/json",
            400,
            (
                'Pod in version "v1" cannot be handled as a Service: '
                "converting (v1.Pod) to (v1.Service): unknown conversion"
            ),
        ),
        (
            b'{"kind":"Service","apiVersion":"v2"}',
            "application/json",
            400,
            ("the API version in the data (v2) does not match the expected API version (v1)"),
        ),
        (
            b'{"metadata":{"name":"x","namespace":"other"}}',
            "application/json",
            400,
            (
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            ),
        ),
        (
            b'{"metadata":{"name":"x","resourceVersion":"7"}}',
            "application/json",
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            b"<xml/>",
            "application/xml",
            415,
            (
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json, application/yaml, application/vnd.kubernetes.protobuf"
            ),
        ),
        (b"a: b: c", "application/yaml", 400, None),
        (b"\xff", "application/yaml", 400, None),
    ],
)
async def test_bodies_that_are_refused(
    send: Client, body: bytes, content_type: str, status: int, message: str | None
) -> None:
    answer = await send("POST", SERVICES, body, content_type=content_type)
    assert answer.status == status
    assert answer.body["kind"] == "Status"
    assert message is None or answer.body["message"] == message


async def test_a_body_that_is_too_large(send: Client) -> None:
    answer = await send("POST", SERVICES, io.BytesIO(b" " * 4_000_000))
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_yaml_is_taken(send: Client) -> None:
    body = "metadata: {name: web}\nspec:\n  type: NodePort\n  ports: [{port: 80}]\n"
    answer = await send("POST", SERVICES, body, content_type="application/yaml")
    assert answer.status == 201
    assert answer.body["spec"]["ports"][0]["nodePort"]


async def test_unknown_fields_are_ignored_warned_of_or_refused(send: Client) -> None:
    raw = service("web")
    raw["spec"]["portz"] = []
    answer = await send("POST", f"{SERVICES}?fieldValidation=Strict", raw)
    assert answer.status == 400
    assert answer.body["message"] == (
        'Service in version "v1" cannot be handled as a Service: '
        'strict decoding error: unknown field "spec.portz"'
    )
    answer = await send("POST", SERVICES, raw)
    assert answer.status == 201
    assert answer.headers["Warning"] == r'299 - "unknown field \"spec.portz\""'
    raw["metadata"]["name"] = "other"
    answer = await send("POST", f"{SERVICES}?fieldValidation=Ignore", raw)
    assert (answer.status, answer.headers.get("Warning")) == (201, None)
    assert (await send("POST", f"{SERVICES}?fieldValidation=Maybe", raw)).status == 422


async def test_a_patch_that_breaks_the_object_is_blamed(send: Client) -> None:
    await send("POST", SERVICES, service("web"))
    bad = {"spec": {"ports": [{"port": "eighty"}]}}
    answer = await send("PATCH", f"{SERVICES}/web", bad, content_type=MERGE)
    assert answer.status == 422
    assert answer.body["message"].startswith(' "" is invalid: patch: Invalid value: "{')
    assert "cannot unmarshal string into Go struct field" in answer.body["message"]
    renamed = {"metadata": {"name": "other"}}
    answer = await send("PATCH", f"{SERVICES}/web", renamed, content_type=MERGE)
    assert answer.status == 422 or answer.status == 400
    answer = await send("PATCH", f"{SERVICES}/web", {}, content_type="application/json")
    assert answer.status == 415


async def test_only_one_of_two_writers_with_the_same_version_wins(send: Client) -> None:
    created = (await send("POST", SERVICES, service("web"))).body
    created["metadata"]["labels"] = {"writer": "1"}
    assert (await send("PUT", f"{SERVICES}/web", created)).status == 200
    created["metadata"]["labels"] = {"writer": "2"}
    answer = await send("PUT", f"{SERVICES}/web", created)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    patch = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}}
    answer = await send("PATCH", f"{SERVICES}/web", patch, content_type=MERGE)
    assert answer.status == 409
    stored = send.api.store.get("services", "web", "default")
    assert stored is not None
    assert stored["metadata"]["labels"] == {"writer": "1"}


async def test_put_creates_services_and_leases_but_not_nodes(send: Client) -> None:
    assert (await send("PUT", f"{SERVICES}/web", service("web"))).status == 201
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}}
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/l"
    assert (await send("PUT", path, lease)).status == 201
    node = {"metadata": {"name": "n"}}
    assert (await send("PUT", "/api/v1/nodes/n", node)).status == 404


async def test_generated_names(send: Client) -> None:
    raw = service("")
    raw["metadata"] = {"generateName": "web-"}
    names = {(await send("POST", SERVICES, raw)).body["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_apply_creates_needs_a_manager_and_says_who_is_in_the_way(send: Client) -> None:
    text = "kind: Service\napiVersion: v1\nspec: {type: NodePort, ports: [{port: 80}]}\n"
    path = f"{SERVICES}/web"
    answer = await send("PATCH", path, text, content_type=APPLY)
    assert answer.status == 422
    assert "fieldManager: Required value" in answer.body["message"]
    answer = await send("PATCH", f"{path}?fieldManager=a", text, content_type=APPLY)
    assert answer.status == 201
    assert answer.body["spec"]["ports"][0]["nodePort"]
    other = text.replace("NodePort", "LoadBalancer")
    answer = await send("PATCH", f"{path}?fieldManager=b", other, content_type=APPLY)
    assert answer.status == 409
    assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "a": .spec.type'
    answer = await send("PATCH", f"{path}?fieldManager=b&force=true", other, content_type=APPLY)
    assert (answer.status, answer.body["spec"]["type"]) == (200, "LoadBalancer")
    answer = await send("PATCH", f"{path}?fieldManager=b&force=true", {}, content_type=MERGE)
    assert answer.status == 422


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}}, 409),
        ({"preconditions": {"resourceVersion": "1"}}, 409),
        ({"dryRun": ["All"]}, 200),
        ({"propagationPolicy": "Foreground", "gracePeriodSeconds": 5}, 200),
    ],
)
async def test_options_of_a_delete(send: Client, options: dict[str, Any], status: int) -> None:
    await send("POST", SERVICES, service("web"))
    answer = await send("DELETE", f"{SERVICES}/web", options)
    assert answer.status == status
    is_kept = status == 409 or "dryRun" in options
    assert (send.api.store.get("services", "web", "default") is not None) is is_kept


async def test_a_collection_is_deleted_by_its_selector(send: Client) -> None:
    for name in ("a", "b", "c"):
        raw = service(name)
        raw["metadata"]["labels"] = {"keep": str(name == "b").lower()}
        await send("POST", SERVICES, raw)
    answer = await send("DELETE", f"{SERVICES}?labelSelector=keep%3Dfalse")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["a", "c"]
    left = (await send("GET", f"{SERVICES}?labelSelector=keep")).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["b"]
    assert (await send("DELETE", "/api/v1/services")).status == 405
    assert (await send("DELETE", "/api/v1/namespaces")).status == 405


async def test_a_namespace_goes_with_everything_in_it(send: Client) -> None:
    await send("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    port = {"port": 80, "nodePort": 30080}
    await send("POST", "/api/v1/namespaces/shop/services", service("web", port))
    held = service("held")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    await send("POST", "/api/v1/namespaces/shop/services", held)
    answer = await send("DELETE", "/api/v1/namespaces/shop")
    assert answer.body["status"]["phase"] == "Terminating"
    assert not send.api.ports.has(30080)
    answer = await send("POST", "/api/v1/namespaces/shop/services", service("late"))
    assert answer.status == 403
    assert answer.body["message"] == (
        'services "late" is forbidden: unable to create new content in namespace shop because it '
        "is being terminated"
    )
    gone = {"metadata": {"finalizers": None}}
    await send("PATCH", "/api/v1/namespaces/shop/services/held", gone, content_type=MERGE)
    assert (await send("GET", "/api/v1/namespaces/shop")).status == 404
    answer = await send("DELETE", "/api/v1/namespaces/default")
    assert answer.status == 403


async def test_a_pod_on_a_node_is_told_to_stop_and_goes_when_its_kubelet_says_so(
    send: Client,
) -> None:
    await send("POST", PODS, _pod("a", nodeName="n1"))
    answer = await send("DELETE", f"{PODS}/a")
    assert answer.body["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await send("GET", f"{PODS}/a")).status == 200
    await send("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
    assert (await send("GET", f"{PODS}/a")).status == 404


async def test_a_pod_without_a_node_goes_at_once(send: Client) -> None:
    await send("POST", PODS, _pod("a"))
    await send("DELETE", f"{PODS}/a")
    assert (await send("GET", f"{PODS}/a")).status == 404


async def test_a_pod_whose_kubelet_is_gone_goes_when_its_grace_ends(send: Client) -> None:
    await send("POST", PODS, _pod("a", nodeName="n1", terminationGracePeriodSeconds=1))
    await send("DELETE", f"{PODS}/a")

    async def is_gone() -> bool:
        return (await send("GET", f"{PODS}/a")).status == 404

    await until(is_gone, "the pod is gone")


async def test_a_pod_can_be_bound_but_not_rebuilt(send: Client) -> None:
    await send("POST", PODS, _pod("a"))
    bound = {"spec": {"nodeName": "n1"}}
    assert (await send("PATCH", f"{PODS}/a", bound, content_type=MERGE)).status == 200
    rebuilt = {"spec": {"hostNetwork": True}}
    answer = await send("PATCH", f"{PODS}/a", rebuilt, content_type=MERGE)
    assert answer.status == 422
    assert "pod updates may not change fields other than" in answer.body["message"]


async def test_a_json_patch_that_does_not_fit_is_answered_without_its_reason(send: Client) -> None:
    patch = [{"op": "test", "path": "/spec/type", "value": "LoadBalancer"}]
    path = f"{SERVICES}/kubernetes"
    answer = await send("PATCH", path, patch, content_type="application/json-patch+json")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    message = "the server rejected our request due to an error in our request"
    assert answer.body["message"] == message
    assert answer.body["details"] == {}


async def test_the_service_of_the_server_itself_comes_back(send: Client) -> None:
    await send("DELETE", f"{SERVICES}/kubernetes")

    async def is_back() -> bool:
        return (await send("GET", f"{SERVICES}/kubernetes")).status == 200

    await until(is_back, "the Service is back")
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    slice_ = (await send("GET", slices)).body
    assert slice_["endpoints"][0]["addresses"] == ["10.0.0.1"]
    assert slice_["ports"][0]["port"] == int(send.api.url.rpartition(":")[2])


async def test_endpoints_follow_the_slices(send: Client) -> None:
    slice_ = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": ["10.1.0.2"], "conditions": {"ready": True}, "nodeName": "n2"},
            {"addresses": ["10.1.0.1"], "conditions": {}},
            {"addresses": ["10.1.0.3"], "conditions": {"ready": False}},
        ],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    await send("POST", path, slice_)
    endpoints = (await send("GET", "/api/v1/namespaces/default/endpoints/web")).body
    assert endpoints["subsets"] == [
        {
            "addresses": [{"ip": "10.1.0.1"}, {"ip": "10.1.0.2", "nodeName": "n2"}],
            "notReadyAddresses": [{"ip": "10.1.0.3"}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
    ]
    await send("DELETE", f"{path}/web-1")
    assert (await send("GET", "/api/v1/namespaces/default/endpoints/web")).status == 404


async def test_reviews_answer_by_the_rights_that_are_left(send: Client) -> None:
    send.api.faults.forbid("delete", "services")
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    for verb, is_allowed in (("delete", False), ("list", True)):
        wanted = {"verb": verb, "resource": "services"}
        answer = await send("POST", path, {"spec": {"resourceAttributes": wanted}})
        assert (answer.status, answer.body["status"]["allowed"]) == (201, is_allowed)
    bodies: list[Any] = [[], "x", {"spec": 7}, {"spec": {"resourceAttributes": "x"}}]
    for nonsense in bodies:
        assert (await send("POST", path, json.dumps(nonsense))).status in (201, 400)
    assert (await send("GET", path)).status == 405
    who = await send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert who.body["status"]["userInfo"]["username"] == "nplb-lab-admin"


async def test_metadata_alone(send: Client) -> None:
    accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    answer = await send("GET", f"{SERVICES}/kubernetes", accept=accept)
    assert answer.body["kind"] == "PartialObjectMetadata"
    assert "spec" not in answer.body
    accept = accept.replace("Metadata;", "MetadataList;")
    answer = await send("GET", SERVICES, accept=accept)
    assert answer.body["kind"] == "PartialObjectMetadataList"
    assert (await send("GET", SERVICES, accept="text/html")).status == 406


async def test_over_tls_with_the_authority_that_it_tells() -> None:
    api = make_api(tls=True)
    await api.start()
    try:
        assert api.url.startswith("https://")
        trusting = ssl.create_default_context(cadata=api.ca_pem)
        connector = aiohttp.TCPConnector(ssl=trusting)
        async with aiohttp.ClientSession(connector=connector) as session:
            send = Client(api, session)
            assert (await send("POST", SERVICES, service("web"))).status == 201
            watch = await send("GET", "/api/v1/services?watch=1&timeoutSeconds=1")
            assert watch.status == 200
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await Client(api, session)("GET", SERVICES)
    finally:
        await api.stop()


async def test_a_port_that_is_taken_is_told(api: ApiServer) -> None:
    second = ApiServer(rng=random.Random(1), token="x")
    port = int(api.url.rpartition(":")[2])
    with pytest.raises(HostError, match=f"cannot listen on 127.0.0.1:{port}: "):
        await second.start("127.0.0.1", port)
    await second.stop()


async def test_the_repair_loop_tells_of_what_it_finds(send: Client) -> None:
    api = send.api
    api.create("services", service("one", {"port": 80, "nodePort": 30080}))
    # What no API server would write: a second holder, and one that is outside of the range.
    for name, port in (("two", 30080), ("three", 40000)):
        raw = api.create("services", service(name))
        held = raw["spec"]["ports"][0]["nodePort"]
        raw["spec"]["ports"][0]["nodePort"] = port
        api.store.put("services", json.loads(json.dumps(raw)))
        assert api.ports.has(held)
    for _ in range(2):
        assert api.repair_ports() is not None
    answer = await send("GET", "/api/v1/events?fieldSelector=involvedObject.kind%3DService")
    told = {item["involvedObject"]["name"]: item for item in answer.body["items"]}
    # Services are gone through by name: the first to have a number keeps it.
    assert sorted(told) == ["three", "two"]
    assert told["two"]["reason"] == "PortAlreadyAllocated"
    assert told["three"]["reason"] == "PortOutOfRange"
    assert told["two"]["reportingComponent"] == "portallocator-repair-controller"
    assert told["two"]["type"] == "Warning"
    assert told["two"]["series"]["count"] == 2
    leaked = set(api.ports.ports()) - {30080}
    assert len(leaked) == 2
    # Found three times, a leak is freed.
    api.repair_ports()
    assert set(api.ports.ports()) == {30080}
    page = (await send("GET", "/metrics")).body
    found = "apiserver_nodeport_repair_port_errors_total"
    for kind, count in (("duplicate", 3), ("outOfRange", 3), ("leak", 2), ("repair", 0)):
        assert f'{found}{{type="{kind}"}} {count}.0\n' in page
    assert "apiserver_nodeport_repair_reconcile_errors_total 0.0\n" in page


async def test_metrics_of_the_port_allocator_have_their_names(send: Client) -> None:
    await send("POST", SERVICES, service("one", {"port": 80, "nodePort": 30080}))
    await send("POST", SERVICES, service("taken", {"port": 80, "nodePort": 30080}))
    await send("POST", SERVICES, service("drawn"))
    answer = await send("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    name = "kube_apiserver_nodeport_allocator"
    for line in (
        f"{name}_allocated_ports 2.0",
        f"{name}_available_ports 2766.0",
        f'{name}_allocation_total{{scope="static"}} 1.0',
        f'{name}_allocation_total{{scope="dynamic"}} 1.0',
        f'{name}_allocation_errors_total{{scope="static"}} 1.0',
    ):
        assert f"{line}\n" in answer.body
    assert (await send("GET", "/metrics", token=None)).status == 401
