"""SAM 2's functions that load a video predictor."""

from __future__ import annotations

from pathlib import Path

import torch

from rmnet.compat.sam2.predictor import SAM2VideoPredictor
from rmnet.errors import ConfigError, shown
from rmnet.prompting import Prompter


def build_sam2_video_predictor(
    config_file: None = None,
    ckpt_path: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    prompter: Prompter | None = None,
    **refused: object,
) -> SAM2VideoPredictor:
    """Load weights of RMNet; see `SAM2VideoPredictor.from_pretrained`.

    Args:
        config_file: None; a configuration of SAM 2 is refused.
        ckpt_path: Weights of RMNet: a folder, a file or a hub id; None for "rmnet-small".
        device: Device to run on; None for CUDA if available, else the CPU.
        prompter: What turns boxes and clicks into masks; None for the packaged one.
        refused: Options of SAM 2 that do not exist here.

    Raises:
        ConfigError: a configuration, weights or an option of SAM 2.
    """
    if config_file is not None:
        raise ConfigError(
            f"config_file is {shown(config_file)}; accepted: None, since networks of SAM 2 do not "
            "run here, and weights of RMNet hold their configuration. Write "
            'build_sam2_video_predictor(ckpt_path="rmnet-small", device=device)'
        )
    return SAM2VideoPredictor.from_pretrained(
        "rmnet-small" if ckpt_path is None else ckpt_path,
        device=device,
        prompter=prompter,
        **refused,  # type: ignore[arg-type]  # refused there by name
    )


def build_sam2_video_predictor_hf(
    model_id: str | Path, *, device: str | torch.device | None = None, **options: object
) -> SAM2VideoPredictor:
    """Load weights of RMNet by their name; see `SAM2VideoPredictor.from_pretrained`."""
    return SAM2VideoPredictor.from_pretrained(model_id, device=device, **options)  # type: ignore[arg-type]  # checked there
