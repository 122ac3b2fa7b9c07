"""`eosin audit`: leakage between training and evaluation data, and the quality of both."""

if __name__ != "eosin.data_builders.audit":
    raise ImportError("import this package as eosin.data_builders.audit: a bare name belongs to other software")
