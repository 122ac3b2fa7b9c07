"""Exports: artefacts in the formats of other training programs, with every id kept.

Parquet shards with images need no export for `datasets`: `datasets.load_dataset("DIR/image_text")` opens them, and
`datasets.load_dataset("DIR/image_text").push_to_hub("ORG/NAME")` publishes them.

webdataset.py   tar files that webdataset, open_clip and img2dataset's readers take
llava.py        one JSON a split beside a folder of images, as LLaVA's training scripts take
samples.py      what both need: which records, their images, and their other columns as JSON
"""

if __name__ != "eosin.data_builders.exports":
    raise ImportError("import this package as eosin.data_builders.exports: a bare name belongs to other software")
