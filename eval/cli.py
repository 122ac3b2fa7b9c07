"""`eosin eval run | score`."""

from __future__ import annotations

from eosin.commands import add_engine, building_parser, open_inputs, read_config
from eosin.errors import ConfigError
from eosin.progress import show

_USAGE = "usage: eosin eval run RECIPE [KEY=VALUE ...] --out DIR | eosin eval score RECIPE 'predictions=[DIR,DIR]' --out DIR"


def main(argv: list[str]) -> None:
    """Run `eosin eval`.

    Raises:
        ConfigError: neither run nor score was asked for.
        EosinError: see `run_evaluation` and `score_predictions`.
    """
    verbs = {"run": _run, "score": _score}
    if argv and argv[0] in ("-h", "--help"):
        show(_USAGE)
        return
    if not argv or argv[0] not in verbs:
        raise ConfigError(f"eosin eval: {argv[0] + ' is unknown' if argv else 'what to do is missing'}\n{_USAGE}")
    verbs[argv[0]](argv[1:])


def _run(argv: list[str]) -> None:
    parser = building_parser("eosin eval run", "Ask a model the questions of a benchmark.")
    add_engine(parser)
    arguments = parser.parse_args(argv)
    from eosin.eval.run import run_evaluation

    run_evaluation(arguments)


def _score(argv: list[str]) -> None:
    arguments = building_parser("eosin eval score", "Score predictions and write a report.").parse_args(argv)
    from eosin.eval.config import ScoreConfig

    config = read_config(ScoreConfig, arguments)
    if config is None:
        return
    inputs = open_inputs(config)
    from eosin.eval.score import score_predictions

    score_predictions(config, inputs, arguments.out, overwrite=arguments.overwrite)
