"""A person at the screen: corrects a mask, adds an object that comes in, drops one.

`correct`, `add_objects` and `remove_objects` are about the frame just returned. They change what
is known of it before the memory sees it, so none of them runs the network again.
"""

from rmnet import RMNetSegmenter
from rmnet.demo import make_clip
from rmnet.metrics import jaccard

CORRECT_BELOW = 0.6  # J at which our person loses patience


def main() -> None:
    clip = make_clip(num_frames=30)
    session = RMNetSegmenter.from_pretrained().start(size=160)

    # Begin with objects 1 and 2. Object 3 is in the picture too, but nobody asked for it yet.
    session.step(clip.frames[0], clip.labels[0], object_ids=[1, 2])
    print("tracking", session.objects)

    for index in range(1, len(clip.frames)):
        result = session.step(clip.frames[index])

        if index == 4:  # now somebody does: a mask of object 3 alone
            result = session.add_objects({3: clip.labels[index] == 3})
            print(f"frame {index}: added 3, tracking", result.object_ids)

        if index == 20:  # object 1 is of no interest any more; its pixels become background
            result = session.remove_objects(1)
            print(f"frame {index}: removed 1, tracking", result.object_ids)

        # The true masks stand for the person, who looks at each result and draws anew what is off.
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
