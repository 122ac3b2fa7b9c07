import pytest

from eosin.clip.config import OptimiserConfig
from eosin.clip.divergence import WINDOW, check_sound
from eosin.errors import ConfigError


def lines(*losses: float) -> list[dict[str, float]]:
    return [{"step": step, "loss": loss, "grad_norm": 1.0} for step, loss in enumerate(losses)]


def check(*losses: float, config: OptimiserConfig | None = None) -> None:
    *before, line = lines(*losses)
    check_sound(line, before, 1000, config or OptimiserConfig())


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stops_the_run_at_once(name: str, value: float) -> None:
    line = {"step": 3, "loss": 1.0, "grad_norm": 1.0, name: value}
    with pytest.raises(ConfigError, match=rf"step 3 of 1000: {name} is {value}; training has diverged\. Lower optimiser\.lr"):
        check_sound(line, lines(1.0, 1.0, 1.0), 1000, OptimiserConfig(divergence=0.0))


def test_a_loss_that_stays_far_above_where_it_began_stops_the_run_and_names_the_way_out() -> None:
    blown = [4.0] * WINDOW + [1.0] * 100 + [9.0] * WINDOW
    with pytest.raises(ConfigError, match=r"mean loss of 50 steps is 9, and that of the first 50 was 4.*optimiser\.divergence=0"):
        check(*blown)
    check(*blown, config=OptimiserConfig(divergence=0.0))
    check(*blown, config=OptimiserConfig(divergence=2.5))


def test_a_bad_batch_or_a_rising_loss_is_no_divergence() -> None:
    check(*[4.0] * WINDOW, *[1.0] * 100, 60.0)
    check(*[4.0] * WINDOW, *[7.0] * WINDOW)
    check(*[4.0] * WINDOW, *[400.0] * (WINDOW - 1))


def test_a_factor_that_any_run_would_reach_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimiser\.divergence is above 1"):
        OptimiserConfig(divergence=0.9)
