"""Indexes over embeddings, searched by image and by text."""

if __name__ != "eosin.retrieval":
    raise ImportError("import this package as eosin.retrieval: the bare name 'retrieval' belongs to other software")
