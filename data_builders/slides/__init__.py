"""Slides: from whole-slide images to tiles with their coordinates, each left-out tile with its reason. Slides are read by `eosin.slides`.

listing.py       which slides there are: a folder or a CSV, cases, labels, overrides of mpp
overview.py      a slide's overview, in bounded memory also where the slide has a single level
ink.py           pixels that a marker drew
tissue.py        where on the overview the tissue is
grid.py          the tile grid at a wanted mpp, size and overlap
quality.py       background, pen, fold, blur: measured on a tile
coordinates.py   HDF5 coordinates as CLAM and TRIDENT lay them out
picture.py       the overview with the grid drawn on it
tile_slides.py   the builder
"""

if __name__ != "eosin.data_builders.slides":
    raise ImportError("import this package as eosin.data_builders.slides: a bare name belongs to other software")
