"""The network rewritten for inference: the same numbers up to rounding, in fewer passes."""

from __future__ import annotations

import copy
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.config import RMNetConfig
from rmnet.network import Decoder, Encoder, KeyValueHead, MemoryEncoder, RMNet
from rmnet.runtime.convolution import Convolution
from rmnet.runtime.crops import encoder_halo, wrong_results
from rmnet.runtime.fused_blocks import Fuse, FusedRefinement, FusedResidualBlock, fused_stage


class FusedNetwork(nn.Module):
    """An RMNet for inference only; holds no state.

    The network that it is made from stays as it is, and weights that need no change are shared.
    With a `dtype` below float32, callers enter autocast.
    """

    def __init__(self, network: RMNet, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        fuse = partial(Convolution, dtype=dtype)
        self.config, self.dtype = network.config, dtype
        self.device = next(network.parameters()).device
        self.flow = network.flow
        self.query_encoder = FusedEncoder(network.query_encoder, fuse, dtype)
        self.query_head = FusedHead(network.query_head, fuse)
        self.memory_encoder = FusedMemoryEncoder(network.memory_encoder, fuse, dtype)
        self.memory_head = FusedHead(network.memory_head, fuse)
        self.decoder = FusedDecoder(network.decoder, fuse)

    def with_config(self, config: RMNetConfig) -> FusedNetwork:
        """Return the same modules under another configuration, which must have the same shapes."""
        other = copy.copy(self)
        other.config = config
        return other


class FusedEncoder(nn.Module):
    """An encoder; the edge of a cropped image or f8 makes `halo` or `last_halo` cells of f16 wrong."""

    def __init__(self, encoder: Encoder, fuse: Fuse, dtype: torch.dtype) -> None:
        super().__init__()
        self.halo = encoder_halo(encoder)
        self.last_halo = wrong_results(encoder.stage16, 0)
        # The BatchNorm follows the sum of the image's part and the masks' parts.
        self.stem = fuse(encoder.stem, encoder.stem_norm)
        self.stem_activation = encoder.stem_activation
        self.stage4 = fused_stage(encoder.stage4, fuse, dtype)
        self.stage8 = fused_stage(encoder.stage8, fuse, dtype)
        self.stage16 = fused_stage(encoder.stage16, fuse, dtype)

    def shallow_stages(self, stem: Tensor) -> tuple[Tensor, Tensor]:
        """Return f4 and f8 for the output of `self.stem`, which is overwritten."""
        f4 = self.stage4(self.stem_activation(stem))
        return f4, self.stage8(f4)


class FusedMemoryEncoder(FusedEncoder):
    """The encoder of a past frame with its masks."""

    def __init__(self, encoder: MemoryEncoder, fuse: Fuse, dtype: torch.dtype) -> None:
        super().__init__(encoder, fuse, dtype)
        # A BatchNorm that only scales: the sum is shifted once, with the image's part.
        scale = copy.deepcopy(encoder.stem_norm).requires_grad_(False)
        for shift in (cast("Tensor", scale.running_mean), scale.bias):
            shift.zero_()
        self.mask_stem = fuse(encoder.mask_stem, scale)
        others_stem = encoder.others_stem
        self.others_stem = None if others_stem is None else fuse(others_stem, scale)

    def forward(self, stem: Tensor, masks: Tensor, others: Tensor | None) -> Tensor:
        """Encode objects of a frame to f16; see `MemoryEncoder.forward`. Stem: (n or 1, ...)."""
        joined = self.mask_stem(masks)
        joined += stem
        if self.others_stem is not None and others is not None:
            joined += self.others_stem(others)
        _, f8 = self.shallow_stages(joined)
        return self.stage16(f8)


class FusedHead(nn.Module):
    """The key and value of f16."""

    def __init__(self, head: KeyValueHead, fuse: Fuse) -> None:
        super().__init__()
        self.key, self.value = fuse(head.key), fuse(head.value)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor]:
        """See `KeyValueHead.forward`."""
        return self.key(f16), self.value(f16)


class FusedDecoder(nn.Module):
    """The decoder."""

    def __init__(self, decoder: Decoder, fuse: Fuse) -> None:
        super().__init__()
        self.entry = fuse(decoder.entry)
        self.entry_block = FusedResidualBlock(decoder.entry_block, fuse)
        self.refine8 = FusedRefinement(decoder.refine8, fuse)
        self.refine4 = FusedRefinement(decoder.refine4, fuse)
        self.predict = decoder.predict

    def skips(self, f8: Tensor, f4: Tensor) -> tuple[Tensor, Tensor]:
        """See `Decoder.skips`."""
        return self.refine8.skip_features(f8), self.refine4.skip_features(f4)

    def forward(self, readout: Tensor, skip8: Tensor, skip4: Tensor) -> Tensor:
        """See `Decoder.forward`."""
        x = self.entry_block(self.entry(readout))
        x = self.refine8(x, skip8)
        x = self.refine4(x, skip4)
        return self.predict(F.relu(x, inplace=True))
