"""Contrastive pathology encoders: training, embedding, export."""

if __name__ != "eosin.clip":
    raise ImportError("import this package as eosin.clip: the bare name 'clip' belongs to other software")
