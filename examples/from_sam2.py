"""Track with the calls of SAM 2's video predictor: a box, a mask of one object, a correction.

Only the import and the line that loads the predictor differ from code for SAM 2.
"""

import numpy as np

from rmnet.compat.sam2 import build_sam2_video_predictor
from rmnet.demo import make_clip
from rmnet.metrics import jaccard


def main() -> None:
    clip = make_clip(num_frames=30)
    predictor = build_sam2_video_predictor()
    state = predictor.init_state(clip.frames)  # or a folder of images, or a video file

    # A box around object 1, and the true mask of object 2, in the first frame.
    rows, columns = np.nonzero(clip.labels[0] == 1)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, box=box)
    predictor.add_new_mask(state, frame_idx=0, obj_id=2, mask=clip.labels[0] == 2)

    masks = {}
    for frame, object_ids, logits in predictor.propagate_in_video(state):
        masks[frame] = {i: (logits[n, 0] > 0).cpu().numpy() for n, i in enumerate(object_ids)}

    # Correct the worst frame of object 1, and track again from there.
    scores = {t: jaccard(found[1], clip.labels[t] == 1) for t, found in masks.items()}
    worst = min(scores, key=scores.__getitem__)
    print(f"frame {worst}: J of object 1 is {scores[worst]:.2f}")
    predictor.add_new_mask(state, frame_idx=worst, obj_id=1, mask=clip.labels[worst] == 1)
    for frame, object_ids, logits in predictor.propagate_in_video(state, start_frame_idx=worst):
        masks[frame] = {i: (logits[n, 0] > 0).cpu().numpy() for n, i in enumerate(object_ids)}
    mean = {
        i: np.mean([jaccard(m[i], clip.labels[t] == i) for t, m in masks.items()]) for i in (1, 2)
    }
    print("mean J:", {i: round(float(value), 2) for i, value in mean.items()})


if __name__ == "__main__":
    main()
