"""Track an endless stream of frames, such as that of a camera.

A session remembers a bounded number of frames, so it can run as long as the camera does. Here a
generator stands in for the camera. With OpenCV you would write:

    capture = cv2.VideoCapture(0)
    while True:
        ok, picture = capture.read()
        if not ok:
            break
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # rmnet takes RGB
"""

import time
from collections.abc import Iterator

import numpy as np

from rmnet import MemoryPolicy, RMNetSegmenter
from rmnet.demo import make_clip

CLIP = make_clip(num_frames=30)


def camera() -> Iterator[np.ndarray]:
    """RGB uint8 frames (H, W, 3)."""
    yield from CLIP.frames


def main() -> None:
    segmenter = RMNetSegmenter.from_pretrained()
    # A smaller memory and a smaller size inside the network are faster. See `rmnet track -h`.
    session = segmenter.start(size=160, memory=MemoryPolicy(every=5, max_frames=8))

    start = time.perf_counter()
    for frame in camera():
        if session.frame_index is None:
            result = session.step(frame, CLIP.labels[0])  # the first frame comes with its masks
        else:
            result = session.step(frame)
        # Use the result: result.labels (H, W), result.binary(1), result.boxes, ...
        lost = [i for i, s in zip(result.object_ids, result.status, strict=True) if s == "lost"]
        if lost:
            print(f"frame {result.index}: lost {lost}; the next search covers the whole frame")

    print(f"{len(CLIP.frames) / (time.perf_counter() - start):.1f} frames per second")
    stats = session.memory_stats()
    print(f"remembered: frames {stats.frames}, {stats.num_bytes / 1e6:.1f} MB")

    # If no masks are given later, stream() does the same in one line:
    for result in segmenter.stream(camera(), CLIP.labels[0], size=160):
        print(result)
        break


if __name__ == "__main__":
    main()
