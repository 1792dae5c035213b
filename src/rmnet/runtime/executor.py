"""RMNet as a session runs it: one frame at a time, and no more of it than is asked for."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from rmnet.config import STRIDE, RMNetConfig
from rmnet.network import KeyValueHead, QueryFeatures, RMNet, object_probabilities, other_objects
from rmnet.runtime.cell_box import CellBox, union
from rmnet.runtime.fuse import fused
from rmnet.runtime.halo import encoder_halo, wrong_results
from rmnet.runtime.workspace import new_zeros, temporaries

HEAD_HALO = 1  # cells around a box that its keys and values depend on: convolutions of 3x3
# Cells around a region that `regional` computes with it, so that what is inside hardly notices
# that the frame ends there. Chosen by J&F: docs/results.md.
ENCODER_HALO = 3
DECODER_HALO = 1


class SeenFrame(NamedTuple):
    """A frame after the query encoder: key and value of all cells, skips of the view alone."""

    features: QueryFeatures
    view: CellBox


class InferenceNetwork:
    """Made of a network, whose weights it shares where it can; holds no state.

    On the CPU, objects go one by one: activations of a batch are too large for the allocator to
    keep, and faulting them in anew takes longer than what a batch saves. And only cells of regions
    get keys and values, as others are never read, so that what is too far away to be felt there
    need not be encoded: the same numbers for less.
    On other devices objects are a batch, and nothing waits for boxes to reach the host.

    With `regional`, encoders and decoder see no more than regions and a few cells around; an
    approximation, whose cost in J and F is in docs/results.md.

    Args:
        network: On its device, as it was loaded; it is not changed.
        dtype: Precision of the computation; below float32, calls come under autocast.
    """

    def __init__(self, network: RMNet, dtype: torch.dtype = torch.float32) -> None:
        self.config = network.config
        self.device = next(network.parameters()).device
        self.network = fused(network, dtype)
        self.flow = self.network.flow
        self._exact_halo = HEAD_HALO + encoder_halo(network.memory_encoder)
        self._exact_last_halo = HEAD_HALO + wrong_results(network.query_encoder.stage16, 0)

    def with_config(self, config: RMNetConfig) -> InferenceNetwork:
        """The same modules under another configuration, one of the same shapes."""
        other = copy.copy(self)
        other.config = config
        other.network = self.network.with_config(config)
        return other

    def encode_query(self, image: Tensor, boxes: Tensor, *, regional: bool) -> SeenFrame:
        """Encode the frame to be segmented; what is returned may lie in the workspace.

        Args:
            image: (1, 3, H, W), normalised, 16 divides H and W.
            boxes: (N, 4) int32 cells, where objects are looked for.
            regional: Whether to look there only.
        """
        whole = _whole(image)
        if self._is_batched(regional=regional):
            return SeenFrame(self.network.encode_query(image), whole)
        box = union(CellBox(*box) for box in boxes.tolist())
        view = _view(box, whole, ENCODER_HALO) if regional else whole
        encoder = self.network.query_encoder
        f4, f8 = encoder.shallow_stages(encoder.stem(_cut_image(image, view)))
        # The decoder wants these two of all that is in view, the read wants f16 of the box alone.
        deep = _view(box, view, self._exact_last_halo)
        f16 = encoder.stage16(deep.seen_from(view).cut(f8, 2))
        key, value = _zeros(self.network.query_head, 1, whole, f16)
        _on_cells(self.network.query_head, f16, box, deep, key[0], value[0])
        skips = self.network.decoder.skips(f8, f4)
        return SeenFrame(QueryFeatures(key, value.movedim(-1, 1), *skips), view)

    def encode_memory(
        self, image: Tensor, masks: Tensor, boxes: Tensor, *, regional: bool
    ) -> tuple[Tensor, Tensor]:
        """Encode a past frame with its masks.

        Args:
            image: (1, 3, H, W).
            masks: (N, H, W) in [0, 1], soft.
            boxes: (N, 4) int32 cells, where each object is remembered.
            regional: Whether to look there only.

        Returns:
            Keys (N, h, w, ck) and values (N, h, w, cv); outside the boxes they mean nothing. They
            may lie in the workspace.
        """
        if self._is_batched(regional=regional):
            return self.network.encode_memory(image, masks[None])
        whole = _whole(image)
        encoder, head = self.network.memory_encoder, self.network.memory_head
        others = other_objects(masks[None])[0]
        cells = [CellBox(*corners) for corners in boxes.tolist()]
        halo = ENCODER_HALO if regional else self._exact_halo
        views = [_view(box, whole, halo) for box in cells]
        joint = union(views)
        stem = encoder.stem(_cut_image(image, joint))
        keys, values = _zeros(head, len(masks), whole, stem)
        for row, (box, view) in enumerate(zip(cells, views, strict=True)):
            with temporaries():
                f16 = encoder(
                    view.seen_from(joint).cut(stem, STRIDE // 2),
                    _cut_image(masks[None, row : row + 1], view),
                    _cut_image(others[None, row : row + 1], view) if len(masks) > 1 else None,
                ).f16
                _on_cells(head, f16, box, view, keys[row], values[row])
        return keys, values

    def decode(self, readout: Tensor, seen: SeenFrame, boxes: Tensor, *, regional: bool) -> Tensor:
        """Decode every object by itself.

        Args:
            readout: (N, h, w, cv), what each object's memory said.
            seen: The frame.
            boxes: (N, 4) cells; outside, the query's value is hidden.
            regional: Whether to decode there only; all else is background.

        Returns:
            (N, H, W) float32 probabilities of each object against background.
        """
        if self._is_batched(regional=regional):
            return self.network.decode(readout, seen.features, boxes)[0]
        _, value, skip8, skip4 = seen.features
        height, width = value.shape[-2:]
        whole = CellBox(0, 0, width, height)
        size = STRIDE * height, STRIDE * width
        decoded = readout.new_zeros((len(boxes), *size), dtype=torch.float32)
        for row, corners in enumerate(boxes.tolist()):
            box = CellBox(*corners)
            view = _view(box, seen.view, DECODER_HALO) if regional else whole
            inside = view.seen_from(seen.view)
            with temporaries():
                logits = self.network.decoder(
                    _joined(readout[row : row + 1].movedim(-1, 1), value, box, view),
                    inside.cut(skip8, 2),
                    inside.cut(skip4, 4),
                )
            view.cut(decoded[row], STRIDE).copy_(object_probabilities(logits)[0])
        return decoded

    def _is_batched(self, *, regional: bool) -> bool:
        return self.device.type != "cpu" and not regional


def _whole(image: Tensor) -> CellBox:
    height, width = image.shape[-2:]
    return CellBox(0, 0, width // STRIDE, height // STRIDE)


def _view(box: CellBox, whole: CellBox, halo: int) -> CellBox:
    """What to compute on for the sake of a box."""
    return whole if box.is_empty else box.widened(halo, whole)


def _cut_image(planes: Tensor, view: CellBox) -> Tensor:
    """The pixels of a view, with channels last in memory as all else here."""
    return view.cut(planes, STRIDE).contiguous(memory_format=torch.channels_last)


def _zeros(head: KeyValueHead, rows: int, whole: CellBox, like: Tensor) -> tuple[Tensor, Tensor]:
    """Keys (rows, h, w, ck) and values (rows, h, w, cv) of nothing."""
    widths = len(head.key.weight), len(head.value.weight)
    key, value = (new_zeros((rows, *whole.shape, width), like) for width in widths)
    return key, value


def _joined(read: Tensor, value: Tensor, box: CellBox, view: CellBox) -> Tensor:
    """What the decoder of an object sees of a view, channels last in memory.

    Args:
        read: (1, cv, h, w), what its memory said.
        value: (1, cv, h, w), the query's own.
        box: Where the query's own is seen.
        view: What is decoded.
    """
    width = read.shape[1]
    joined = new_zeros((1, *view.shape, 2 * width), read).movedim(-1, 1)
    joined[:, :width] = view.cut(read)
    box.seen_from(view).cut(joined[:, width:]).copy_(box.cut(value))
    return joined


def _on_cells(
    head: KeyValueHead, f16: Tensor, box: CellBox, view: CellBox, key: Tensor, value: Tensor
) -> None:
    """Write keys and values of a box.

    Args:
        head: Two convolutions of 3x3, so that a cell depends on its eight neighbours only.
        f16: (1, C, ., .) of the cells of `view`.
        box: In `view`, or empty.
        view: In the grid.
        key: (h, w, ck), of the whole grid; written inside the box.
        value: (h, w, cv), likewise.
    """
    if box.is_empty:
        return
    around = box.widened(HEAD_HALO, view)
    part, inside = around.seen_from(view).cut(f16), box.seen_from(around)
    for whole, conv in ((key, head.key), (value, head.value)):
        with temporaries():
            box.cut(whole.movedim(-1, 0)).copy_(inside.cut(conv(part))[0])
