"""Builders: published corpora, folders, slides and phantoms become artefacts with nothing lost."""

if __name__ != "eosin.data_builders":
    raise ImportError("import this package as eosin.data_builders: the bare name 'data_builders' belongs to other software")
