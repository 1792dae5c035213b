"""Correct a mask, add an object and remove one while tracking, as a person at the screen would.

`correct`, `add_objects` and `remove_objects` change the last returned frame before it enters the
memory. None of them runs the network again.
"""

from rmnet import RMNetSegmenter
from rmnet.demo import make_clip
from rmnet.metrics import jaccard

CORRECT_BELOW = 0.6  # J below which the simulated person corrects a mask


def main() -> None:
    clip = make_clip(num_frames=30)
    session = RMNetSegmenter.from_pretrained().start(size=160)

    # Start with objects 1 and 2. Object 3 is visible too, but not yet of interest.
    session.step(clip.frames[0], clip.labels[0], object_ids=[1, 2])
    print("tracking", session.objects)

    for index in range(1, len(clip.frames)):
        result = session.step(clip.frames[index])

        if index == 4:  # now it is: give a mask of object 3
            result = session.add_objects({3: clip.labels[index] == 3})
            print(f"frame {index}: added 3, tracking", result.object_ids)

        if index == 20:  # object 1 no longer is; its pixels become background
            result = session.remove_objects(1)
            print(f"frame {index}: removed 1, tracking", result.object_ids)

        # The true masks stand in for the person, who checks each result and redraws poor masks.
        truth = clip.labels[index]
        poor = {
            i: truth == i
            for i in result.object_ids
            if (truth == i).any() and jaccard(result.binary(i), truth == i) < CORRECT_BELOW
        }
        if poor:
            result = session.correct(poor)  # exactly these pixels; other objects stay as they are
            print(f"frame {index}: corrected", sorted(poor))
    print("done, tracking", session.objects)


if __name__ == "__main__":
    main()
