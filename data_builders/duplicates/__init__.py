"""Near duplicates: fingerprints of images and texts, pairs of them, clusters of records."""

if __name__ != "eosin.data_builders.duplicates":
    raise ImportError("import this package as eosin.data_builders.duplicates: a bare name belongs to other software")
