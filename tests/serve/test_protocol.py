"""Whatever JSON comes, a request is either taken as it is or refused by an error that names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.serve.errors import ApiError
from eosin.serve.middleware import allowed_names, host_name, presented_key
from eosin.serve.protocol import IGNORED, PASSED_ON, ChatRequest, read_request

NAMES = st.sampled_from([*ChatRequest.model_fields, *sorted(IGNORED), *sorted(PASSED_ON), "tools", "n", "guided_json", "passed_on"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
PART_KEYS = st.sampled_from(["type", "text", "image_url", "url", "role", "content", "evidence", "k", "include_usage"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PART_KEYS, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(NAMES, VALUES, max_size=6) | VALUES)
def test_any_json_is_taken_or_refused_with_400(body: Any) -> None:
    refusal = None
    try:
        request, extra = read_request(body, PASSED_ON)
    except ApiError as error:
        refusal = error
    if refusal is not None:
        assert refusal.status == 400
        assert refusal.message
        return
    assert request.messages
    assert set(extra) <= PASSED_ON
    assert request.sampling(256).max_tokens >= 1


@pytest.mark.parametrize("field", sorted(PASSED_ON))
def test_a_field_for_other_backends_is_refused_by_one_that_does_not_know_it(field: str) -> None:
    body = {"messages": [{"role": "user", "content": "q"}], field: 0.5}
    assert read_request(body, PASSED_ON)[1] == {field: 0.5}
    with pytest.raises(ApiError, match=f"{field} is not supported here"):
        read_request(body, frozenset())


@given(st.text())
def test_any_authorization_header_gives_a_key_or_none(header: str) -> None:
    key = presented_key(header, basic=True)
    assert key is None or isinstance(key, str)


def test_names_of_hosts() -> None:
    assert [host_name(host) for host in ("LocalHost:7860", "[::1]:7860", "127.0.0.1", "")] == ["localhost", "::1", "127.0.0.1", ""]
    assert allowed_names("127.0.0.1", ["Eosin.lab"]) == {"127.0.0.1", "localhost", "::1", "eosin.lab"}
    assert allowed_names("0.0.0.0", []) is None
    assert allowed_names("10.0.0.5", ["eosin.lab"]) == {"127.0.0.1", "localhost", "::1", "10.0.0.5", "eosin.lab"}
