"""Rules, one a file: a text in, `Kept` or `Dropped` with the rule's reason out."""

if __name__ != "eosin.data_builders.cleaning.rules":
    raise ImportError("import this package as eosin.data_builders.cleaning.rules: a bare name belongs to other software")
