"""Pictures side by side, with a caption under each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP, CAPTION = 6, 34  # pixels between the pictures of a sheet, and under each


def captioned(rows: Sequence[Sequence[tuple[str, np.ndarray]]], path: Path) -> None:
    """Pictures of one size, uint8 [H, W, 3], row by row, each with a caption of one or two lines
    under it."""
    height, width = rows[0][0][1].shape[:2]
    size = len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + CAPTION)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for row, cells in enumerate(rows):
        for column, (caption, rgb) in enumerate(cells):
            left, top = column * (width + GAP), row * (height + CAPTION)
            canvas.paste(Image.fromarray(np.ascontiguousarray(rgb)), (left, top))
            draw.multiline_text((left, top + height + 2), caption, fill="black", font=font, spacing=2)
    canvas.save(path, quality=88, method=6)
