"""The executor for CPUs, one object at a time on crops around boxes; and the choice of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from rmnet.config import STRIDE
from rmnet.network import QueryFeatures, object_probabilities, other_objects
from rmnet.runtime.crops import CellBox, union
from rmnet.runtime.executor import BatchedExecutor, Executor
from rmnet.runtime.fused_network import FusedHead, FusedNetwork
from rmnet.runtime.workspace import Workspace, new_zeros, temporaries

HEAD_HALO = 1  # cells around a box that its keys and values depend on: convolutions of 3x3
WHOLE_FRAME = 1 << 20  # cells; no frame has more


class Halos(NamedTuple):
    """Cells around boxes that are computed with them: the fewer, the faster."""

    query: int  # of the query encoder up to stride 8, and so of the decoder's skips
    memory: int
    decoder: int  # inside of the query encoder's


# So that results inside a region hardly notice that the frame ends around it. Chosen by J&F:
# docs/lab/results.md.
REGIONAL = Halos(query=3, memory=3, decoder=1)


def exact_halos(network: FusedNetwork) -> Halos:
    """Return the smallest halos that give the numbers of whole frames."""
    # The decoder needs skips of the whole frame; a memory's cells matter inside its boxes alone.
    memory = HEAD_HALO + network.memory_encoder.halo
    return Halos(query=WHOLE_FRAME, memory=memory, decoder=WHOLE_FRAME)


class ObjectwiseExecutor(Executor):
    """Computes crops, one object at a time.

    On a CPU a batch's activations would be too large for the allocator to keep, and faulting them
    in anew takes longer than a batch saves. Only cells of boxes get keys and values, as others are
    never read, so that cells too far away to matter need not be encoded.
    """

    def __init__(self, network: FusedNetwork, halos: Halos) -> None:
        super().__init__(network)
        self._halos = halos
        self._workspace: Workspace | None = None  # held, so that the next step finds it again

    @contextmanager
    def activations(self) -> Iterator[None]:
        """See `Executor.activations`; memory comes from the thread's workspace."""
        self._workspace = Workspace.of_this_thread()
        with self._workspace.scope():
            yield

    def encode_query(self, image: Tensor, boxes: Tensor) -> QueryFeatures:
        """See `Executor.encode_query`."""
        encoder, head = self._network.query_encoder, self._network.query_head
        whole, box = _whole(image), union(_cell_boxes(boxes))
        view = _view(box, whole, self._halos.query)
        f4, f8 = encoder.shallow_stages(encoder.stem(_cut_image(image, view)))
        # The decoder needs these two wherever it looks, the read needs f16 of the box alone.
        deep = _view(box, view, HEAD_HALO + encoder.last_halo)
        f16 = encoder.stage16(deep.seen_from(view).cut(f8, 2))
        key, value = self._zeros(1, whole, f16)
        _on_cells(head, f16, box, deep, key[0], value[0])
        return QueryFeatures(key, value.movedim(-1, 1), *self._network.decoder.skips(f8, f4))

    def encode_memory(self, image: Tensor, masks: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """See `Executor.encode_memory`."""
        encoder, head = self._network.memory_encoder, self._network.memory_head
        whole, others = _whole(image), other_objects(masks[None])[0]
        cells = _cell_boxes(boxes)
        views = [_view(box, whole, self._halos.memory) for box in cells]
        joint = union(views)
        stem = encoder.stem(_cut_image(image, joint))
        keys, values = self._zeros(len(masks), whole, stem)
        for row, (box, view) in enumerate(zip(cells, views, strict=True)):
            with temporaries():
                f16 = encoder(
                    view.seen_from(joint).cut(stem, STRIDE // 2),
                    _cut_image(masks[None, row : row + 1], view),
                    _cut_image(others[None, row : row + 1], view) if len(masks) > 1 else None,
                )
                _on_cells(head, f16, box, view, keys[row], values[row])
        return keys, values

    def decode(self, readout: Tensor, query: QueryFeatures, boxes: Tensor) -> Tensor:
        """See `Executor.decode`; cells outside of an object's view are background."""
        height, width = query.value.shape[-2:]
        cells = _cell_boxes(boxes)
        skips_view = _view(union(cells), CellBox(0, 0, width, height), self._halos.query)
        shape = len(cells), STRIDE * height, STRIDE * width
        decoded = readout.new_zeros(shape, dtype=torch.float32)
        for row, box in enumerate(cells):
            view = _view(box, skips_view, self._halos.decoder)
            inside = view.seen_from(skips_view)
            with temporaries():
                logits = self._network.decoder(
                    _joined(readout[row : row + 1].movedim(-1, 1), query.value, box, view),
                    inside.cut(query.skip8, 2),
                    inside.cut(query.skip4, 4),
                )
            view.cut(decoded[row], STRIDE).copy_(object_probabilities(logits)[0])
        return decoded

    def _zeros(self, rows: int, whole: CellBox, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys (rows, h, w, ck) and values (rows, h, w, cv) of 0."""
        widths = self.config.key_width, self.config.value_width
        key, value = (new_zeros((rows, *whole.shape, width), like) for width in widths)
        return key, value


def make_executor(network: FusedNetwork, *, regional: bool) -> Executor:
    """Return the executor for the network's device; cheap, so that every session has its own.

    With `regional`, encoders and decoder see no more than boxes and a few cells around them: an
    approximation, whose cost in J and F is in docs/lab/results.md.
    """
    if regional:
        return ObjectwiseExecutor(network, REGIONAL)
    if network.device.type == "cpu":
        return ObjectwiseExecutor(network, exact_halos(network))
    return BatchedExecutor(network)


def _cell_boxes(boxes: Tensor) -> list[CellBox]:
    return [CellBox(*corners) for corners in boxes.tolist()]


def _whole(image: Tensor) -> CellBox:
    height, width = image.shape[-2:]
    return CellBox(0, 0, width // STRIDE, height // STRIDE)


def _view(box: CellBox, whole: CellBox, halo: int) -> CellBox:
    """Return the cells to compute for the sake of a box; all of them if it is empty."""
    return whole if box.is_empty else box.widened(halo, whole)


def _cut_image(planes: Tensor, view: CellBox) -> Tensor:
    """Return the pixels of a view, channels-last as everything here."""
    return view.cut(planes, STRIDE).contiguous(memory_format=torch.channels_last)


def _joined(read: Tensor, value: Tensor, box: CellBox, view: CellBox) -> Tensor:
    """Join an object's readout with the query's value inside the box, both (1, cv, h, w)."""
    width = read.shape[1]
    joined = new_zeros((1, *view.shape, 2 * width), read).movedim(-1, 1)
    joined[:, :width] = view.cut(read)
    box.seen_from(view).cut(joined[:, width:]).copy_(box.cut(value))
    return joined


def _on_cells(
    head: FusedHead, f16: Tensor, box: CellBox, view: CellBox, key: Tensor, value: Tensor
) -> None:
    """Write keys (h, w, ck) and values (h, w, cv) inside the box, from f16 of the view around it."""
    if box.is_empty:
        return
    around = box.widened(HEAD_HALO, view)
    part, inside = around.seen_from(view).cut(f16), box.seen_from(around)
    for whole, conv in ((key, head.key), (value, head.value)):
        with temporaries():
            box.cut(whole.movedim(-1, 0)).copy_(inside.cut(conv(part))[0])
