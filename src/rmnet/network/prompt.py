"""The prompt network: a box or clicks in a picture become the mask of the object."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.network.decoder import ResidualBlock
from rmnet.network.encoders import Features

PLANES = 4  # inside the box; clicks on the object; clicks beside it; the present mask
_SIMILAR = 2  # planes: like what was clicked on, like what was clicked beside
_WIDTHS = (96, 64, 48)  # of the decoder at strides 16, 8 and 4
_EMBEDDING = 32
_CLICKED_CELLS = 16  # at stride 8; a click covers about four
_HEADS = 4
_PIXELS = 3 * 4 * 4  # colours of the pixels of a stride-4 cell


class PromptNetwork(nn.Module):
    """A decoder like the tracker's, on features of the tracker's query encoder.

    Prompts enter as planes beside the features at every stride. Two things carry a click across
    the picture: a layer of self-attention, and planes that say how much a place looks like the
    places clicked.
    """

    def __init__(self, feature_widths: tuple[int, int, int]) -> None:
        super().__init__()
        width4, width8, width16 = feature_widths
        decoder16, decoder8, decoder4 = _WIDTHS
        self.similarity = ClickSimilarity(width8, width16)
        planes = PLANES + _SIMILAR
        self.entry = nn.Conv2d(width16 + planes, decoder16, kernel_size=3, padding=1)
        self.entry_block = ResidualBlock(decoder16)
        self.context = nn.Conv2d(decoder16, decoder16, kernel_size=3, padding=3, dilation=3)
        self.attention = SelfAttention(decoder16)
        self.context_block = ResidualBlock(decoder16)
        self.refine8 = PromptRefinement(width8 + planes, decoder16, decoder8)
        self.refine4 = PromptRefinement(width4 + planes + _PIXELS, decoder8, decoder4)
        self.predict = nn.Conv2d(decoder4, 4 * 4, kernel_size=3, padding=1)

    def forward(self, image: Tensor, features: Features, prompts: Tensor) -> Tensor:
        """Return logits (B, 1, H, W) of the object.

        Args:
            image: Normalised pictures (B, 3, H, W); 16 divides H and W.
            features: Of the pictures.
            prompts: (B, PLANES, H, W) in [0, 1].
        """
        prompts8 = F.avg_pool2d(prompts, 8)
        similar8 = self.similarity(features, prompts8)
        planes8 = torch.cat((prompts8, similar8), dim=1)
        similar4 = F.interpolate(similar8, scale_factor=2, mode="bilinear", align_corners=False)
        pixels = F.pixel_unshuffle(image, 4)
        planes4 = torch.cat((F.avg_pool2d(prompts, 4), similar4, pixels), dim=1)
        x = self.entry(torch.cat((features.f16, F.avg_pool2d(planes8, 2)), dim=1))
        x = self.entry_block(x)
        x = self.attention(x + self.context(F.relu(x)))
        x = self.context_block(x)
        x = self.refine8(x, torch.cat((features.f8, planes8), dim=1))
        x = self.refine4(x, torch.cat((features.f4, planes4), dim=1))
        return F.pixel_shuffle(self.predict(F.relu(x)), 4)


class PromptRefinement(nn.Module):
    """A step of the decoder that doubles the resolution with encoder features and prompts."""

    def __init__(self, skip_width: int, coarse_width: int, width: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(skip_width, width, kernel_size=3, padding=1)
        self.project = nn.Conv2d(coarse_width, width, kernel_size=1)
        self.merge_block = ResidualBlock(width)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Merge coarse (B, C, H/2, W/2) with skip (B, skip_width, H, W)."""
        fine = F.interpolate(
            self.project(coarse), scale_factor=2, mode="bilinear", align_corners=False
        )
        return self.merge_block(fine + self.skip(skip))


class ClickSimilarity(nn.Module):
    """How much each place looks like the places clicked, on the object and beside it."""

    def __init__(self, width8: int, width16: int) -> None:
        super().__init__()
        self.embed8 = nn.Conv2d(width8, _EMBEDDING, kernel_size=3, padding=1)
        self.embed16 = nn.Conv2d(width16, _EMBEDDING, kernel_size=1)

    def forward(self, features: Features, prompts8: Tensor) -> Tensor:
        """Return (B, 2, H/8, W/8) in [0, 2]: 1 + the largest cosine to a clicked place; 0 for none."""
        coarse = F.interpolate(
            self.embed16(features.f16), scale_factor=2, mode="bilinear", align_corners=False
        )
        places = F.normalize(self.embed8(features.f8) + coarse, dim=1).flatten(2)
        near = []
        for clicks in prompts8[:, 1:3].flatten(2).unbind(1):
            weights, cells = clicks.topk(min(_CLICKED_CELLS, clicks.shape[1]), dim=1)
            clicked = places.gather(2, cells[:, None].expand(-1, _EMBEDDING, -1))
            alike = clicked.transpose(1, 2) @ places  # (B, cells, h*w), cosines
            near.append(((1 + alike) * weights[:, :, None]).amax(dim=1))
        return torch.stack(near, dim=1).unflatten(-1, prompts8.shape[-2:])


class SelfAttention(nn.Module):
    """One residual layer of self-attention over all cells; it starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.query_key_value = nn.Conv2d(width, 3 * width, kernel_size=1)
        self.out = nn.Conv2d(width, width, kernel_size=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        joint = self.query_key_value(self.norm(x)).flatten(2).unflatten(1, (3, _HEADS, -1))
        query, key, value = joint.transpose(-1, -2).unbind(1)  # (B, heads, h*w, C/heads)
        read = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(read.transpose(-1, -2).flatten(1, 2).unflatten(-1, x.shape[-2:]))
