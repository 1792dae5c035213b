"""A drop-in for SAM 2's video predictor."""

from rmnet.compat.sam2.build import build_sam2_video_predictor, build_sam2_video_predictor_hf
from rmnet.compat.sam2.predictor import SAM2VideoPredictor
from rmnet.compat.sam2.state import InferenceState

__all__ = [
    "InferenceState",
    "SAM2VideoPredictor",
    "build_sam2_video_predictor",
    "build_sam2_video_predictor_hf",
]
