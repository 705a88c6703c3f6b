"""What manifests mean, and that everything wrong in them has its place."""

import textwrap

import pytest

from nplb.model.cluster import ServiceType
from nplb.model.keys import ServiceKey
from nplb.sources.manifests.files import ManifestError
from nplb.sources.manifests.objects import Objects, read_objects


def read(*files: str) -> Objects:
    contents = [(f"{i}.yaml", textwrap.dedent(text).encode()) for i, text in enumerate(files, 1)]
    return read_objects(contents, cluster="prod")


def errors(*files: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(*files)
    return list(caught.value.errors)


SERVICE = """\
    apiVersion: v1
    kind: Service
    metadata: {name: web, namespace: shop}
    spec:
      type: NodePort
      ports:
        - port: 80
          nodePort: 30080
"""


def test_several_documents_of_every_kind() -> None:
    objects = read(
        SERVICE
        + """\
    ---
    # nothing here
    ---
    apiVersion: v1
    kind: Node
    metadata: {name: a}
    status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
    ---
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
    addressType: IPv4
    endpoints: [{addresses: [10.1.0.1], nodeName: a}]
    """
    )
    [service] = objects.services
    assert service.key == ServiceKey("prod", "shop", "web")
    assert service.type is ServiceType.NODE_PORT
    assert service.ports[0].node_port == 30080
    assert [node.name for node in objects.nodes] == ["a"]
    assert objects.slices[0].service == "web"
    assert objects.places == ("1.yaml:1:1",)
    assert (objects.warnings, objects.passed_over) == ((), "")


def test_no_namespace_means_default() -> None:
    objects = read(
        """\
        apiVersion: v1
        kind: Service
        metadata: {name: web}
        ---
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: web-1}
        """
    )
    assert objects.services[0].key.namespace == "default"
    assert objects.slices[0].namespace == "default"


@pytest.mark.parametrize(
    "header", ["apiVersion: v1\nkind: List", "apiVersion: v1\nkind: ServiceList"]
)
def test_lists(header: str) -> None:
    item = "{metadata: {name: %s}, apiVersion: v1, kind: Service}"
    text = f"{header}\nitems:\n- {item % 'a'}\n- {item % 'b'}\n"
    assert [s.key.name for s in read(text).services] == ["a", "b"]


def test_what_the_api_answers_to_a_list_needs_no_kind_in_its_items() -> None:
    text = '{"apiVersion": "v1", "kind": "NodeList", "items": [{"metadata": {"name": "a"}}]}'
    assert [node.name for node in read(text).nodes] == ["a"]


def test_other_kinds_are_left_out_with_one_note() -> None:
    objects = read(
        SERVICE,
        """\
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        ---
        apiVersion: serving.knative.dev/v1
        kind: Service
        metadata: {name: not-ours}
        ---
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: api}
        """,
    )
    assert len(objects.services) == 1
    assert objects.passed_over == "objects of other kinds are left out: Deployment (2), Service (1)"


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        ("Servce", "Service"),
        ("service", "Service"),
        ("Nodes", "Node"),
        ("ServiceAccount", ""),
        ("Namespace", ""),
        ("Endpoints", ""),
        ("Secret", ""),
        ("Pod", ""),
    ],
)
def test_a_mistyped_kind_is_an_error_and_another_one_is_not(kind: str, meant: str) -> None:
    text = f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: web}}\n"
    if meant:
        assert errors(text) == [f"1.yaml:2:7: v1 has no kind {kind!r}; did you mean {meant}?"]
    else:
        assert kind in read(text).passed_over


def test_two_objects_of_one_name_are_refused_with_both_places() -> None:
    [error] = errors(SERVICE, SERVICE)
    assert error == "2.yaml:1:1: Service shop/web stands at 1.yaml:1:1 already; remove one"


def test_the_same_name_in_another_namespace_or_of_another_kind_is_another_object() -> None:
    read(
        SERVICE,
        """\
        {apiVersion: v1, kind: Service, metadata: {name: web}}
        ---
        {apiVersion: v1, kind: Node, metadata: {name: web}}
        """,
    )


def test_a_wrong_field_has_its_place() -> None:
    text = SERVICE.replace("30080", '"30080"')
    [error] = errors(text)
    assert error.startswith("1.yaml:8:17: Service shop/web: spec.ports[0].nodePort: must be a")


def test_a_missing_field_has_its_parents_place() -> None:
    [error] = errors(SERVICE.replace("- port: 80\n          nodePort", "- nodePort"))
    assert error == "1.yaml:7:7: Service shop/web: spec.ports[0].port: is missing"


def test_everything_that_is_wrong_in_all_files_is_told_at_once() -> None:
    found = errors(
        "kind: [unclosed",
        "just text",
        "kind: Service",
        "apiVersion: v1\nmetadata: {}",
        "apiVersion: v1\nkind: List\nitems: 3",
        "apiVersion: v1\nkind: Service",
        "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice",
    )
    assert [error.split(":")[0] for error in found] == [f"{n}.yaml" for n in range(1, 8)]
    assert "this is no Kubernetes object" in found[1]
    assert "apiVersion must say what this is" in found[2]
    assert "kind must say what this is" in found[3]
    assert found[4].startswith("5.yaml:3:8: items must be a list")
    assert "metadata.name: is missing" in found[5]
    assert "no longer served" in found[6]


def test_a_tolerated_oddity_is_a_note_with_its_place() -> None:
    text = SERVICE.replace("- port: 80", "- protocol: QUIC\n          port: 80")
    objects = read(text)
    assert objects.services[0].ports == ()
    [note] = objects.warnings
    assert note.startswith("1.yaml:1:1: Service shop/web: spec.ports[0].protocol")
