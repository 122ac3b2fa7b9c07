"""The containers published corpora come in, read as streams: one file a container."""

if __name__ != "eosin.data_builders.sources.reading":
    raise ImportError("import this package as eosin.data_builders.sources.reading: a bare name belongs to other software")
