"""Slow float64 loops, written from the equations, as references for the library."""

from __future__ import annotations

import math

import numpy as np


def regional_read(
    query_key, memory_key, memory_value, query_boxes, memory_boxes, present, semantics, scale
):
    """Compute the regional read, one query cell and one memory cell at a time.

    Arrays as in `rmnet.ops.regional_read`; computes and returns float64. "zeroed" does exactly what
    the released code does: keys and values outside become zero, and no cell is left out.
    """
    arrays = (query_key, memory_key, memory_value)
    query_key, memory_key, memory_value = (np.asarray(a, dtype=np.float64) for a in arrays)
    n, frames, h, w, _ = memory_key.shape
    cv = memory_value.shape[-1]
    out = np.zeros((n, h, w, cv))
    for j in range(n):
        for qy in range(h):
            for qx in range(w):
                query_inside = _inside(query_boxes[j], qx, qy)
                if semantics == "excluded" and not query_inside:
                    continue
                scores, values = [], []
                for t in range(frames):
                    if not present[j][t]:
                        continue
                    for my in range(h):
                        for mx in range(w):
                            inside = _inside(memory_boxes[j][t], mx, my)
                            if semantics == "excluded" and not inside:
                                continue
                            key = memory_key[j, t, my, mx] * inside
                            score = scale * float(key @ (query_key[j, qy, qx] * query_inside))
                            scores.append(score)
                            values.append(memory_value[j, t, my, mx] * inside)
                if not scores:
                    continue
                top = max(scores)
                weights = [math.exp(score - top) for score in scores]
                total = sum(weights)
                for weight, value in zip(weights, values, strict=True):
                    out[j, qy, qx] += weight / total * value
    return out


def _inside(box, x, y):
    x0, y0, x1, y1 = (int(v) for v in box)
    return x0 <= x < x1 and y0 <= y < y1


def box_of(mask, threshold, min_pixels, margin, lost):
    """Return the box of one soft mask (H, W), one pixel at a time; eq. 2 of the paper."""
    height, width = mask.shape
    hits = [(x, y) for y in range(height) for x in range(width) if mask[y, x] >= threshold]
    if len(hits) < min_pixels:
        return (0, 0, width, height) if lost == "frame" else (0, 0, 0, 0)
    xs, ys = [x for x, _ in hits], [y for _, y in hits]
    return (
        max(min(xs) - margin, 0),
        max(min(ys) - margin, 0),
        min(max(xs) + margin, width - 1) + 1,
        min(max(ys) + margin, height - 1) + 1,
    )


def backward_warp(plane, flow):
    """Warp a plane (H, W) backward by a flow (2, H, W); 0 where a tap with weight is outside."""
    height, width = plane.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            px, py = x + float(flow[0, y, x]), y + float(flow[1, y, x])
            x0, y0 = math.floor(px), math.floor(py)
            value = weight_inside = 0.0
            for ty, wy in ((y0, 1 - (py - y0)), (y0 + 1, py - y0)):
                for tx, wx in ((x0, 1 - (px - x0)), (x0 + 1, px - x0)):
                    if 0 <= tx < width and 0 <= ty < height:
                        value += wy * wx * plane[ty, tx]
                        weight_inside += wy * wx
            out[y, x] = value if weight_inside >= 0.9999 else 0.0
    return out


def best_match_read(
    query_key, memory_key, memory_value, query_boxes, memory_boxes, present, semantics, scale, sigma
):
    """Compute KMN's kernelised read inside memory and query boxes; arrays as in `regional_read`."""
    arrays = (query_key, memory_key, memory_value)
    query_key, memory_key, memory_value = (np.asarray(a, dtype=np.float64) for a in arrays)
    n, frames, h, w, _ = memory_key.shape
    out = np.zeros((n, h, w, memory_value.shape[-1]))
    for j in range(n):
        cells = [(x, y) for y in range(h) for x in range(w)]
        queries = [(x, y) for x, y in cells if _inside(query_boxes[j], x, y)]
        remembered, sink = [], 0
        for t in range(frames):
            for mx, my in cells:
                if not present[j][t]:
                    continue
                if not _inside(memory_boxes[j][t], mx, my):
                    sink += semantics == "zeroed"
                    continue
                key = memory_key[j, t, my, mx]
                scores = [scale * float(key @ query_key[j, y, x]) for x, y in queries]
                best = queries[int(np.argmax(scores))] if scores else None
                remembered.append((scores, best, memory_value[j, t, my, mx]))
        for number, (qx, qy) in enumerate(queries):
            total = float(sink)
            for scores, (bx, by), value in remembered:
                near = math.exp(-((qx - bx) ** 2 + (qy - by) ** 2) / (2 * sigma**2))
                weight = near * math.exp(scores[number])
                out[j, qy, qx] += weight * value
                total += weight
            if total:
                out[j, qy, qx] /= total
        if semantics == "zeroed" and len(remembered) + sink:
            mean = sum((value for _, _, value in remembered), np.zeros(out.shape[-1]))
            for qx, qy in set(cells) - set(queries):
                out[j, qy, qx] = mean / (len(remembered) + sink)
    return out
