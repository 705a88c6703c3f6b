"""Every reason is explained."""

from nplb.model.reasons import BackendReason, FrontendState, SkipReason
from nplb.policy.explain import BACKEND_REASONS, FRONTEND_STATES, SKIP_REASONS


def test_every_word_has_its_sentences() -> None:
    assert set(BACKEND_REASONS) == set(BackendReason)
    assert set(FRONTEND_STATES) == set(FrontendState)
    assert set(SKIP_REASONS) == set(SkipReason)
    texts = [*FRONTEND_STATES.values(), *SKIP_REASONS.values()]
    for explanation in BACKEND_REASONS.values():
        texts += [explanation.meaning, explanation.change]
    assert all(text[0].isupper() or text[0] == "`" for text in texts)
    assert all(text.endswith(".") for text in texts)
