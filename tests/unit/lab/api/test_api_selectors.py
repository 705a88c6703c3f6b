"""Label and field selectors: what they select, and the words of their refusal."""

from typing import Any

import pytest

from nplb.lab.api.errors import ApiError
from nplb.lab.api.selectors import parse_selectors


def _object(labels: dict[str, str], **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "shop", "labels": labels}, **fields}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,c)", {}, False),
        ("a notin (b,c)", {}, True),
        ("a in ()", {"a": ""}, True),
        ("a in (,b)", {"a": ""}, True),
        ("a=", {"a": ""}, True),
        ("n>5,n<9", {"n": "7"}, True),
        ("n>5", {"n": "x"}, False),
        ("example.com/a=b,!c", {"example.com/a": "b"}, True),
    ],
)
def test_label_selectors(selector: str, labels: dict[str, str], selected: bool) -> None:
    assert parse_selectors("services", selector, "").matches(_object(labels)) is selected


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("=b", "unable to parse requirement: found '=', expected: identifier"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a (b)", "unable to parse requirement: found '(', expected: !=, <, =, ==, >, in, notin"),
        (
            "n>x",
            (
                'unable to parse requirement: values[0]: Invalid value: "x": '
                "for 'Gt', 'Lt' operators, the value must be an integer"
            ),
        ),
    ],
)
def test_label_selectors_are_refused_in_the_words_of_apimachinery(
    selector: str, message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        parse_selectors("services", selector, "")
    assert caught.value.code == 400
    assert caught.value.status["message"] == message


@pytest.mark.parametrize(
    ("resource", "selector", "fields", "selected"),
    [
        ("services", "metadata.name=web", {}, True),
        ("services", "metadata.namespace!=shop", {}, False),
        ("services", "spec.type=NodePort", {"spec": {"type": "NodePort"}}, True),
        ("services", "spec.type==ClusterIP", {"spec": {"type": "NodePort"}}, False),
        ("nodes", "spec.unschedulable=false", {"spec": {}}, True),
        ("nodes", "spec.unschedulable=true", {"spec": {"unschedulable": True}}, True),
        ("pods", "spec.nodeName=n1,status.phase!=Failed", {"spec": {"nodeName": "n1"}}, True),
        ("pods", "spec.nodeName=", {"spec": {}}, True),
        ("events", "involvedObject.kind=Service,reason=X", {"reason": "X"}, False),
        ("events", r"reason=a\,b", {"reason": "a,b"}, True),
    ],
)
def test_field_selectors(
    resource: str, selector: str, fields: dict[str, Any], selected: bool
) -> None:
    parsed = parse_selectors(resource, "", selector)
    assert parsed.matches(_object({}, **fields)) is selected


@pytest.mark.parametrize(
    ("resource", "selector", "message"),
    [
        ("services", "spec.foo=1", "field label not supported: spec.foo"),
        ("services", "status.phase=x", "field label not supported: status.phase"),
        ("services", "nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
def test_field_selectors_are_refused(resource: str, selector: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_selectors(resource, "", selector)
    assert (caught.value.code, caught.value.status["message"]) == (400, message)
