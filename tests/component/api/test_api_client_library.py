"""The lab's API server under kubernetes-asyncio: typed objects, pages, watches, refusals."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes_asyncio import client, watch
from kubernetes_asyncio.client.exceptions import ApiException

from nplb.lab.api.server import ApiServer
from tests.support.api import TOKEN, api, service

__all__ = ["api"]


@pytest.fixture
async def library(api: ApiServer) -> AsyncIterator[Any]:
    configuration = client.Configuration(host=api.url)
    configuration.api_key = {"BearerToken": f"Bearer {TOKEN}"}
    async with client.ApiClient(configuration) as opened:
        yield opened


async def test_objects_make_the_round_trip(library: Any, api: ApiServer) -> None:
    core = client.CoreV1Api(library)
    port = client.V1ServicePort(port=80, name="http", node_port=30080)
    made = await core.create_namespaced_service(
        "default",
        client.V1Service(
            metadata=client.V1ObjectMeta(name="web", labels={"app": "web"}),
            spec=client.V1ServiceSpec(type="LoadBalancer", ports=[port]),
        ),
    )
    assert made.spec.ports[0].node_port == 30080
    assert made.metadata.creation_timestamp.tzinfo is not None
    patched = await core.patch_namespaced_service_status(
        "web",
        "default",
        {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "Proxy"}]}}},
    )
    assert patched.status.load_balancer.ingress[0].ip_mode == "Proxy"
    read = await core.read_namespaced_service("web", "default")
    read.metadata.labels["app"] = "changed"
    replaced = await core.replace_namespaced_service("web", "default", read)
    assert replaced.metadata.labels == {"app": "changed"}
    await core.delete_namespaced_service("web", "default")
    assert not api.ports.has(30080)


async def test_every_kind_lists(library: Any) -> None:
    core = client.CoreV1Api(library)
    assert len((await core.list_namespace()).items) == 4
    assert (await core.list_node()).items == []
    assert (await core.list_pod_for_all_namespaces()).items == []
    assert (await core.list_event_for_all_namespaces()).items == []
    slices = await client.DiscoveryV1Api(library).list_endpoint_slice_for_all_namespaces()
    assert slices.items[0].endpoints[0].addresses == ["10.0.0.1"]
    assert (await client.CoordinationV1Api(library).list_lease_for_all_namespaces()).items == []
    version = await client.VersionApi(library).get_code()
    assert version.git_version.startswith("v1.36")


async def test_pages(library: Any, api: ApiServer) -> None:
    for number in range(25):
        api.create("services", service(f"s{number:02}"))
    core: Any = client.CoreV1Api(library)
    names: list[str] = []
    token = ""
    while True:
        more = {"_continue": token} if token else {}
        page = await core.list_service_for_all_namespaces(limit=10, **more)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == ["kubernetes", *(f"s{number:02}" for number in range(25))]


async def test_a_watch(library: Any, api: ApiServer) -> None:
    core = client.CoreV1Api(library)
    listed = await core.list_service_for_all_namespaces()
    seen: list[tuple[str, str]] = []
    api.create("services", service("web"))
    async with watch.Watch() as watching:
        stream = watching.stream(
            core.list_service_for_all_namespaces,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=20,
        )
        async for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "ADDED":
                api.patch("services", "web", {"metadata": {"labels": {"a": "b"}}})
            elif event["type"] == "MODIFIED":
                api.delete("services", "web")
            else:
                break
    assert seen == [("ADDED", "web"), ("MODIFIED", "web"), ("DELETED", "web")]


async def test_refusals(library: Any, api: ApiServer) -> None:
    core = client.CoreV1Api(library)
    with pytest.raises(ApiException) as caught:
        await core.read_namespaced_service("none", "default")
    assert (caught.value.status, caught.value.reason) == (404, "Not Found")
    api.faults.unauthorized()
    with pytest.raises(ApiException) as caught:
        await core.list_node()
    assert caught.value.status == 401
