"""Track the objects of the first frame through a clip: masks of one frame in, of all frames out."""

from rmnet import RMNetSegmenter
from rmnet.demo import make_clip

clip = make_clip()  # replace by your own: frames (60, 240, 426, 3) uint8, labels (60, 240, 426)
segmenter = RMNetSegmenter.from_pretrained()  # the weights inside the package; no network
result = segmenter.track(clip.frames, clip.labels[0])  # or track("dog.mp4", "dog.png")
print(result)  # VideoSegmentation(60 frames of 240x426, objects [1, 2, 3])
print(result.labels.shape, result.labels.dtype)  # (60, 240, 426) int32: the ids you gave
print(result[20])  # one frame: the status and the score of each object
print(result.evaluate(clip.labels))  # J of each object; the true masks of this clip are known
result.save_masks("masks")  # palette PNGs; result.save_video("overlay.mp4") for a video
