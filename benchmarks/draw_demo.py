#!/usr/bin/env python3
"""Draw the picture of the README: the demo clip, tracked by the packaged weights.

python -m benchmarks.draw_demo docs/demo.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from rmnet import RMNetSegmenter
from rmnet.demo import make_clip

SHOWN = (0, 14, 24, 34, 44, 58)  # frames, three to a row
GAP = 4  # px


def main() -> None:
    """Track, and put some frames side by side."""
    clip = make_clip()
    result = RMNetSegmenter.from_pretrained(device="cpu").track(clip.frames, clip.labels[0])
    pictures = [result[t].overlay(clip.frames[t], alpha=0.45) for t in SHOWN]
    height, width, _ = pictures[0].shape
    sheet = np.full((2 * height + GAP, 3 * width + 2 * GAP, 3), 255, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (number // 3) * (height + GAP), (number % 3) * (width + GAP)
        sheet[y : y + height, x : x + width] = picture
    image = Image.fromarray(sheet).resize((sheet.shape[1] * 3 // 4, sheet.shape[0] * 3 // 4))
    image.quantize(128).save(Path(sys.argv[1]), optimize=True)


if __name__ == "__main__":
    main()
