"""Published corpora, read in their publishers' own on-disk layouts.

source.py      what a source is: its card, its sections of work, its items
catalogue.py   `SOURCES`: every source by name
builder.py     the builder `source`: one of them becomes one artefact
checks.py      what is missing in a folder, said before a long run
listing.py     `eosin build --list` and `--card NAME`
reading/       the containers they come in: JSON, CSV, tar, HDF5, npz, pickles, zip, folders of classes
one file a source
"""

if __name__ != "eosin.data_builders.sources":
    raise ImportError("import this package as eosin.data_builders.sources: a bare name belongs to other software")
