#!/usr/bin/env python3
"""Find out which settings change the results: hashes of masks and probabilities.

    python -m benchmarks.determinism --json benchmarks/results/determinism.json

Each row tracks the same frames of the demo in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

PROGRAM = """
import hashlib, sys, torch
from rmnet import RMNetSegmenter
from rmnet.demo import make_clip
torch.set_num_threads(int(sys.argv[1]))
clip = make_clip(num_frames=int(sys.argv[2]))
masks, probabilities = hashlib.sha256(), hashlib.sha256()
segmenter = RMNetSegmenter.from_pretrained(device="cpu")
options = {"size": int(sys.argv[3]), "keep_probabilities": True}
for result in segmenter.stream(clip.frames, clip.labels[0], **options):
    masks.update(result.labels.tobytes())
    probabilities.update(result.probabilities.numpy().tobytes())
print(masks.hexdigest()[:16], probabilities.hexdigest()[:16])
"""
ROWS = (  # threads, backend, ATen's instruction set
    (1, "auto", ""),
    (1, "auto", ""),
    (2, "auto", ""),
    (2, "auto", ""),
    (1, "pytorch", ""),
    (1, "auto", "avx2"),
)


def run(threads: int, backend: str, capability: str, frames: int, size: int) -> dict[str, Any]:
    """Track in a new process."""
    environment = {**os.environ, "RMNET_BACKEND": backend}
    if capability:
        environment |= {"ATEN_CPU_CAPABILITY": capability, "ONEDNN_MAX_CPU_ISA": capability}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(threads), str(frames), str(size)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    masks, probabilities = done.stdout.split()
    return {
        "threads": threads,
        "backend": backend,
        "instructions": capability or "best",
        "masks": masks,
        "probabilities": probabilities,
    }


def main() -> None:
    """Print one row per process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=120)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for row in ROWS:
        rows.append(run(*row, args.frames, args.size))
        print(json.dumps(rows[-1]), flush=True)
    if args.json is not None:
        report = {"machine": describe_machine(), "frames": args.frames, "size": args.size}
        args.json.write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
