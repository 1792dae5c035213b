"""`rmnet info`: what is installed, what it runs on, and whether it works."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rmnet.cli.arguments import Subparsers, add_command, add_network, load_segmenter

if TYPE_CHECKING:
    from rmnet.segmenter import RMNetSegmenter

_DESCRIPTION = """\
Show versions, devices and weights, and track a tiny clip to see that it works: masks of the right
size and ids, probabilities that are finite and sum to 1. Exits with 1 if the test fails.
Paste its output into a bug report.
"""
_EXAMPLES = """\
  rmnet info
  rmnet info --weights rmnet-davis --device cpu
  rmnet info --json | python -m json.tool
"""
_EXTRAS = {"av": "video", "pycocotools": "coco"}  # optional packages and what installs them
_SOURCE_HASH = "source hash"  # long, and of use only to programs
_SUM_TOLERANCE = 1e-4  # a sum of probabilities may be this far from 1


@dataclass(frozen=True, slots=True)
class Check:
    """One claim of the self-test."""

    claim: str
    passed: bool
    found: str


def add_parser(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the subcommand."""
    parser = add_command(
        subparsers,
        "info",
        common,
        summary="versions, device, weights, and a self-test",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument("--json", action="store_true", help="print JSON (default: text)")
    add_network(parser, with_size=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Gather and print; 1 if the weights do not load or the self-test fails."""
    from rmnet.errors import RMNetError

    report: dict[str, Any] = {"versions": _versions(), "devices": _devices()}
    regional_read: dict[str, Any] = {"binaries": _binaries()}
    report["regional_read"] = regional_read
    try:
        segmenter = load_segmenter(args)
    except RMNetError as error:  # what was found out so far is worth more than the error alone
        report["weights"] = {"name": args.weights, "error": str(error)}
        passed = False
    else:
        report["weights"] = {
            "name": args.weights,
            "parameters": segmenter.num_parameters,
            "device": str(segmenter.device),
            "dtype": args.dtype,
            "config": json.loads(segmenter.config.to_json()),
        }
        regional_read["served_by"] = _served_by(segmenter)
        checks = self_test(segmenter)
        passed = all(check.passed for check in checks)
        report["self_test"] = {
            "passed": passed,
            "checks": [
                {"claim": check.claim, "passed": check.passed, "found": check.found}
                for check in checks
            ],
        }
    print(json.dumps(report, indent=2) if args.json else _text(report))
    return 0 if passed else 1


def self_test(segmenter: RMNetSegmenter) -> list[Check]:
    """Track a tiny clip and check what comes out; says nothing about how good the masks are."""
    import numpy as np

    from rmnet.demo import make_clip

    ids = (3, 7, 300)  # as a user may have them: with gaps, and beyond a byte
    clip = make_clip(num_frames=4, size=(64, 96))
    first = np.array((0, *ids), np.int32)[clip.labels[0]]
    try:
        result = segmenter.track(clip.frames, first, keep_probabilities=True)
    except Exception as error:  # a failed test is an answer, whatever made it fail
        return [Check("tracking runs", passed=False, found=f"{type(error).__name__}: {error}")]
    sizes = {frame.labels.shape for frame in result}
    found_ids = set(np.unique(result.labels).tolist())
    probabilities = [frame.probabilities for frame in result if frame.probabilities is not None]
    finite = sum(bool(p.isfinite().all()) for p in probabilities)
    off = [float((p.sum(dim=0) - 1).abs().max()) for p in probabilities]
    return [
        Check("tracking runs", len(result) == len(clip.frames), f"{len(result)} frames"),
        Check("masks have the video's size", sizes == {first.shape}, f"{sorted(sizes)}"),
        Check("masks hold no other ids than given", found_ids <= {0, *ids}, f"{sorted(found_ids)}"),
        Check(
            "the first frame keeps its mask",
            bool((result[0].labels == first).all()),
            f"{int((result[0].labels != first).sum())} pixels differ",
        ),
        Check(
            "probabilities are finite",
            finite == len(result),
            f"in {finite} of {len(result)} frames",
        ),
        Check(
            "probabilities sum to 1",
            all(value <= _SUM_TOLERANCE for value in off),  # false of NaN
            f"within {np.max(off, initial=0):.1e}",
        ),
    ]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("rmnet", "torch", "torchvision", "numpy", "pillow", *_EXTRAS):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            extra = _EXTRAS.get(package)
            remedy = package if extra is None else f"'rmnet[{extra}]'"
            versions[package] = f"not installed: pip install {remedy}"
    return versions


def _devices() -> list[str]:
    import torch

    devices = [f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"]
    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 2**30
        devices.append(f"cuda:{number} ({torch.cuda.get_device_name(number)}, {memory:.0f} GiB)")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def _binaries() -> list[dict[str, Any]]:
    """The binaries of the native op; `problem` says why one is not loaded."""
    from rmnet.ops import BINARIES

    return [
        {
            "name": binary.name,
            "path": None if binary.path is None else str(binary.path),
            "problem": binary.problem,
            "facts": binary.facts,
        }
        for binary in BINARIES
    ]


def _served_by(segmenter: RMNetSegmenter) -> str:
    """Who computes the regional read of these weights on their device, and why not the native op."""
    from rmnet.errors import ConfigError
    from rmnet.ops import regional_read_obstacle

    config, device = segmenter.config, segmenter.device
    described = f"keys of {config.key_width}, values of {config.value_width}, on {device}"
    try:
        reason = regional_read_obstacle(
            device, segmenter.dtype, config.key_width, config.value_width
        )
    except ConfigError as error:
        return f"nobody ({described}): {error}"
    return f"native op ({described})" if reason is None else f"PyTorch ({described}): {reason}"


def _text(report: dict[str, Any]) -> str:
    lines = [f"{name:<14} {version}" for name, version in report["versions"].items()]
    lines += [f"{'device':<14} {device}" for device in report["devices"]]
    lines.append(f"{'regional read':<14} {report['regional_read'].get('served_by', '')}".rstrip())
    for binary in report["regional_read"]["binaries"]:
        lines.append(f"  {binary['name']:<20} {binary['problem'] or binary['path']}")
        facts = [f"{name} {fact}" for name, fact in binary["facts"].items() if name != _SOURCE_HASH]
        lines += [f"  {'':<20} {', '.join(facts)}"] if facts else []
    weights = report["weights"]
    if "error" in weights:
        return "\n".join([*lines, f"{'weights':<14} {weights['error']}"])
    lines.append(
        f"{'weights':<14} {weights['name']}: {weights['parameters'] / 1e6:.1f} M parameters, "
        f"{weights['dtype']} on {weights['device']}"
    )
    lines += [f"  {name:<20} {value}" for name, value in weights["config"].items()]
    test = report["self_test"]
    lines.append(f"{'self-test':<14} {'passed' if test['passed'] else 'FAILED'}")
    for check in test["checks"]:
        mark = "ok    " if check["passed"] else "FAILED"
        lines.append(f"  {mark} {check['claim']} ({check['found']})")
    return "\n".join(lines)
