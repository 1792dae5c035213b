"""Start from boxes and clicks with a Segment Anything model (SAM) instead of the packaged network.

It needs transformers (`pip install 'rmnet[examples]'`). The first run downloads 375 MB of weights.
"""
# pyright: reportMissingImports=false

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate as resize

from rmnet import RMNetSegmenter
from rmnet.demo import make_clip
from rmnet.prompting import Box, Point, Prompter


def load_sam(name: str) -> Prompter:
    from transformers import SamModel, SamProcessor

    model, processor = SamModel.from_pretrained(name), SamProcessor.from_pretrained(name)

    @torch.inference_mode()
    def sam(
        frame: np.ndarray,
        boxes: Mapping[int, Box],
        points: Mapping[int, Sequence[Point]],
        masks: Mapping[int, np.ndarray],
    ) -> dict[int, np.ndarray]:
        image = processor(frame, return_tensors="pt")
        embeddings = model.get_image_embeddings(image["pixel_values"])  # once for all objects
        video_size, size = image["original_sizes"], image["reshaped_input_sizes"]
        scale = (size / video_size).flip(1)  # (1, 2), x first: SAM sees a larger frame
        found = {}
        for i in {*boxes, *points}:
            prompts = {}
            if i in boxes:
                prompts["input_boxes"] = torch.tensor([[boxes[i]]]) * scale.repeat(1, 2)
            if i in points:
                clicks = torch.tensor([[points[i]]])  # (1, 1, n, 3): x, y, inside
                prompts["input_points"] = clicks[..., :2] * scale
                prompts["input_labels"] = clicks[..., 2].int()
            if i in masks:  # to be corrected: logits of the frame, padded to a square
                square = torch.zeros((1, 1, max(frame.shape), max(frame.shape)))
                square[..., : frame.shape[0], : frame.shape[1]] = torch.tensor(masks[i])
                prompts["input_masks"] = 20 * resize(square, 4 * embeddings.shape[-1]) - 10
            answer = model(image_embeddings=embeddings, **prompts)  # three masks and their scores
            best = answer.pred_masks[:, :, answer.iou_scores[0, 0].argmax()][:, :, None]
            found[i] = processor.post_process_masks(best, video_size, size)[0][0, 0].numpy()
        return found

    return sam


if __name__ == "__main__":
    clip, sam = make_clip(num_frames=30), load_sam("facebook/sam-vit-base")
    boxes = {1: (29, 71, 123, 165)}
    result = RMNetSegmenter.from_pretrained().track(clip.frames, boxes=boxes, prompter=sam)
    print(result, result.evaluate(clip.labels))
