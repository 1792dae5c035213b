"""`rmnet info`: what is installed, what it runs on, and whether it works."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rmnet.cli.arguments import Subparsers, add_command, add_network, load_segmenter
from rmnet.errors import ConfigError, RMNetError

if TYPE_CHECKING:
    from rmnet.segmenter import RMNetSegmenter

_DESCRIPTION = """\
Show versions, devices, weights and who computes the costly operators: the native code or PyTorch.
Then track a tiny clip to see that it works: masks of the right size and ids, probabilities that
are finite and sum to 1. Exits with 1 if that fails. Paste the output into a bug report.
"""
_EXAMPLES = """\
  rmnet info
  rmnet info --weights rmnet-davis --device cpu
  rmnet info --json | python -m json.tool
"""
_EXTRAS = {"av": "video", "pycocotools": "coco"}  # optional packages, and the extras with them
_SUM_TOLERANCE = 1e-4  # largest distance of a sum of probabilities from 1


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    summary = "versions, device, weights, and a self-test"
    parser = add_command(subparsers, "info", common, summary, _DESCRIPTION, _EXAMPLES)
    parser.add_argument("--json", action="store_true", help="print JSON (default: text)")
    add_network(parser, with_size=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Gather and print; return 1 if the weights do not load or the self-test fails.

    The JSON has these keys:

    - versions: version by package.
    - devices: list of descriptions.
    - binaries: list of {name, path, problem, facts}; problem says why one is not loaded, or null.
    - weights: {name, parameters, device, dtype, config}, or {name, error}.
    - operators: who computes regional_read, conv3x3 (at the widest of the decoder) and, if the
      backbone has them, inverted_residual: "native", "PyTorch: REASON" or "nobody: REASON".
      Missing if the weights do not load.
    - self_test: {passed, checks: list of {claim, passed, found}}. Missing likewise.
    """
    from rmnet.ops import BINARIES

    report: dict[str, Any] = {
        "versions": _versions(),
        "devices": _devices(),
        "binaries": [dataclasses.asdict(binary) for binary in BINARIES],
        "weights": {"name": args.weights},
    }
    passed = False
    try:
        segmenter = load_segmenter(args)
    except RMNetError as error:  # the rest of the report is worth more than the error alone
        report["weights"]["error"] = str(error)
    else:
        report["weights"] |= {
            "parameters": segmenter.num_parameters,
            "device": str(segmenter.device),
            "dtype": args.dtype,
            "config": json.loads(segmenter.config.to_json()),
        }
        report["operators"] = _operators(segmenter)
        checks = _self_test(segmenter)
        passed = all(check["passed"] for check in checks)
        report["self_test"] = {"passed": passed, "checks": checks}
    print(json.dumps(report, indent=2, default=str) if args.json else _text(report))
    return 0 if passed else 1


def _self_test(segmenter: RMNetSegmenter) -> list[dict[str, Any]]:
    """Track a tiny clip and check the results; says nothing about how good the masks are."""
    import numpy as np

    from rmnet.demo import make_clip

    ids = (3, 7, 300)  # as a user may have them: with gaps, and beyond a byte
    clip = make_clip(num_frames=4, size=(64, 96))
    first = np.array((0, *ids), np.int32)[clip.labels[0]]
    try:
        result = segmenter.track(clip.frames, first, keep_probabilities=True)
    except Exception as error:  # a failed test is an answer, whatever made it fail
        found = f"{type(error).__name__}: {error}"
        return [{"claim": "tracking runs", "passed": False, "found": found}]
    num = len(result)
    sizes = {frame.labels.shape for frame in result}
    found_ids = set(np.unique(result.labels).tolist())
    changed = int((result[0].labels != first).sum())
    probabilities = [frame.probabilities for frame in result if frame.probabilities is not None]
    finite = sum(bool(p.isfinite().all()) for p in probabilities)
    off = np.max([float((p.sum(dim=0) - 1).abs().max()) for p in probabilities], initial=0)
    checks = [
        ("tracking runs", num == len(clip.frames), f"{num} frames"),
        ("masks have the video's size", sizes == {first.shape}, f"{sorted(sizes)}"),
        ("masks hold no other ids than given", found_ids <= {0, *ids}, f"{sorted(found_ids)}"),
        ("the first frame keeps its mask", changed == 0, f"{changed} pixels differ"),
        ("probabilities are finite", finite == num, f"in {finite} of {num} frames"),
        # False for NaN.
        ("probabilities sum to 1", bool(off <= _SUM_TOLERANCE), f"within {off:.1e}"),
    ]
    return [{"claim": claim, "passed": ok, "found": found} for claim, ok, found in checks]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("rmnet", "torch", "torchvision", "numpy", "pillow", *_EXTRAS):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            remedy = f"'rmnet[{_EXTRAS[package]}]'" if package in _EXTRAS else package
            versions[package] = f"not installed: pip install {remedy}"
    return versions


def _devices() -> list[str]:
    import torch

    devices = [f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"]
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 2**30
        devices.append(f"cuda:{number} ({torch.cuda.get_device_name(number)}, {memory:.0f} GiB)")
    return devices + (["mps"] if torch.backends.mps.is_available() else [])


def _operators(segmenter: RMNetSegmenter) -> dict[str, str]:
    """Say who computes the operators of these weights on their device."""
    from rmnet.ops import conv3x3_obstacle, inverted_residual_obstacle, regional_read_obstacle

    config, on = segmenter.config, (segmenter.device, segmenter.dtype)
    widest = max(config.decoder_widths)
    obstacles: dict[str, Callable[[], str | None]] = {
        "regional_read": lambda: regional_read_obstacle(*on, config.key_width, config.value_width),
        "conv3x3": lambda: conv3x3_obstacle(*on, widest, widest),
    }
    if config.backbone == "efficientnet_lite0":
        obstacles["inverted_residual"] = lambda: inverted_residual_obstacle(*on)
    operators = {}
    for name, obstacle in obstacles.items():
        try:
            reason = obstacle()
            operators[name] = "native" if reason is None else f"PyTorch: {reason}"
        except ConfigError as error:  # RMNET_BACKEND demands a native operator that cannot serve
            operators[name] = f"nobody: {error}"
    return operators


def _text(report: dict[str, Any]) -> str:
    """Lay the report out in lines of a name and a value."""
    weights, test = report["weights"], report.get("self_test")
    rows = [*report["versions"].items(), *(("device", device) for device in report["devices"])]
    for binary in report["binaries"]:
        rows.append((binary["name"], binary["problem"] or binary["path"]))
        facts = binary["facts"].items()
        rows += [("", f"{name} {fact}") for name, fact in facts if name != "source hash"]
    rows += report.get("operators", {}).items()
    rows += [("weights", weights["name"])]
    rows += [(name, value) for name, value in weights.items() if name not in ("name", "config")]
    rows += weights.get("config", {}).items()
    if test is not None:
        rows.append(("self-test", "passed" if test["passed"] else "FAILED"))
        for check in test["checks"]:
            mark = "ok" if check["passed"] else "FAILED"
            rows.append(("", f"{mark:<6} {check['claim']} ({check['found']})"))
    return "\n".join(f"{name:<20} {value}" for name, value in rows)
