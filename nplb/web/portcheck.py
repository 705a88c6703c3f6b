"""Manifests that somebody pastes: what the API server would answer to them."""

from typing import Protocol

from nplb.alloc.answers import Answer, Answers
from nplb.web.render import JSON, render


class ManifestCheck(Protocol):
    """Asks about a manifest. Raises NplbError that says what is wrong with it."""

    async def __call__(
        self,
        text: str,
        *,
        cluster: str | None = None,
        apply: bool = False,
        transaction: bool = False,
        namespace: str = "default",
    ) -> Answers:
        """The answers for the Services of a text, YAML or JSON."""
        ...


def answers_page(answers: Answers) -> JSON:
    """Answers as a document: that of `nplb ports check -o json`."""
    return {
        "cluster": answers.cluster,
        "port_range": answers.port_range,
        "as": "apply" if answers.apply else "create",
        "transaction": answers.transaction,
        "accepted": answers.accepted,
        "notes": list(answers.notes),
        "services": [_answer(one) for one in answers.services],
    }


def _answer(answer: Answer) -> JSON:
    prediction = answer.prediction
    document = {"place": answer.place, **render(prediction)}
    ports = (*prediction.ports, prediction.health_check)
    shown = (*document["ports"], document["health_check"])
    for port, one in zip(ports, shown, strict=True):
        if port is not None and port.drawn_from is not None:
            drawn = port.drawn_from
            one["drawn_from"] = {
                "band": drawn.band.value,
                "free": drawn.size - drawn.unknown,
                "numbers": drawn.text,
            }
    return document
