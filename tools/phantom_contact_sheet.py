"""Draw the contact sheet of the documentation: one row a tissue class, one column a patient.

python tools/phantom_contact_sheet.py [--out docs/images/phantoms_contact_sheet.jpg] [--columns 6] [--seed 7]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from eosin.data_builders.phantoms import SCANNERS, TISSUES, TileSpec, render_tile

MARGIN_PX = 44
GAP_PX = 3


def contact_sheet(columns: int, seed: int, size_px: int = 224) -> Image.Image:
    """Tiles side by side, the class's name to the left of its row."""
    scanners = list(SCANNERS)
    step = size_px + GAP_PX
    sheet = Image.new("RGB", (MARGIN_PX + columns * step, len(TISSUES) * step), "white")
    draw = ImageDraw.Draw(sheet)
    for row, tissue in enumerate(TISSUES):
        draw.text((6, row * step + size_px // 2), tissue, fill="black")
        for column in range(columns):
            patient, scanner = f"P{column:03d}", scanners[column % len(scanners)]
            tile = render_tile(TileSpec(seed * 1000 + column, tissue, patient, "S0", scanner, size_px))
            sheet.paste(Image.fromarray(tile.image), (MARGIN_PX + column * step, row * step))
    return sheet


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/phantoms_contact_sheet.jpg"))
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(options.columns, options.seed).save(options.out, quality=72)


if __name__ == "__main__":
    main()
