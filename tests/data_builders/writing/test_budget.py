"""A budget is used up, never passed, and a larger one goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eosin.config import load
from eosin.data_builders.writing.crew import work_through
from eosin.data_builders.writing.endpoint import Budget
from eosin.errors import BudgetSpent, ConfigError

Make = Callable[..., Any]


# Answers take 100 and 20 tokens and may take 512: room for a sixth would need 5 * 120 + 612 tokens.
@pytest.mark.parametrize(
    "budget",
    [{"requests": 5}, {"tokens": 4 * 120 + 612}, {"money": 4 * 0.0013 + 0.00868, "prompt_price": 10.0, "completion_price": 15.0}],
)
def test_a_budget_is_used_up_never_passed_and_a_larger_one_resumes(budget: dict[str, float], writer: Make, server: Any) -> None:
    names = list("abcdefghijkl")

    def run(budget: dict[str, float]) -> list[Any]:
        made = writer(budget=load_budget(budget), concurrency=3)
        return work_through(made, names, lambda name: made.caption(name).value["caption"], str)

    with pytest.raises(BudgetSpent, match=rf"writer\.budget\.{next(iter(budget))}"):
        run(budget)
    assert len(server.bodies) == 5
    with pytest.raises(BudgetSpent):
        run(budget)
    assert len(server.bodies) == writer().journal.spent(writer().config.fingerprint).requests == 5
    assert len(run({**budget, next(iter(budget)): 10**9})) == len(names)
    assert len(server.bodies) == len(names)


def test_a_request_longer_than_those_before_does_not_pass_the_budget_by_more_than_itself(writer: Make, server: Any) -> None:
    server.pause = 0.05
    made = writer(budget=load_budget({"tokens": 650}), concurrency=8)
    with pytest.raises(BudgetSpent):
        work_through(made, list("abcdefgh"), made.caption, str)
    # Nothing was known of the first one, so it went alone.
    assert (len(server.bodies), server.most) == (1, 1)


def load_budget(values: dict[str, float]) -> Budget:
    return load(Budget, values)


def uncounted(handler: Any, body: dict[str, Any]) -> bool:
    handler.complete('{"caption": "x"}', body, count=False)
    return True


def test_a_budget_is_a_number() -> None:
    with pytest.raises(ConfigError, match="cannot be negative"):
        Budget(money=float("nan"), prompt_price=1.0)
    with pytest.raises(ConfigError, match="price cannot be negative"):
        Budget(prompt_price=float("nan"))


def test_a_budget_of_tokens_needs_a_server_that_counts(writer: Make, server: Any) -> None:
    server.troubles = [uncounted]
    with pytest.raises(ConfigError, match="does not count tokens"):
        writer(budget=load_budget({"tokens": 10_000})).caption("x")


@pytest.mark.parametrize("values", [{"money": 1.0}, {"requests": -1}, {"prompt_price": -1.0}])
def test_a_budget_that_makes_no_sense_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        load_budget(values)
