"""Benchmarks: tasks, predictions, metrics, reports."""

if __name__ != "eosin.eval":
    raise ImportError("import this package as eosin.eval: the bare name 'eval' belongs to other software")
