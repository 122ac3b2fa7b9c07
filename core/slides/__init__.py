"""Whole slides, read: what tiling and embedding both need.

reader.py        one reader over OpenSlide: levels, true microns per pixel, regions, errors with stable reasons
sampling.py      from which level a tile of a wanted mpp is read, and how it is brought to its size
blocks.py        a level in blocks, decoded by threads, in bounded memory
jpeg_tiles.py    blocks of a TIFF whose tiles are JPEG, decoded without OpenSlide, to the same pixels
stream.py        tiles with their pictures, straight into an embedder or an artefact
tile_table.py    the records of a `tiles` artefact, a slide's rows at a time
"""

if __name__ != "eosin.slides":
    raise ImportError("import this package as eosin.slides: a bare name belongs to other software")
