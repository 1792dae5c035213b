"""Whole data sets: track every clip, score it, record it, and resume where a run stopped."""

from rmnet.evaluation.clip import Benchmark, ClipResult
from rmnet.evaluation.davis import open_davis, open_folders
from rmnet.evaluation.provenance import describe_network, describe_run
from rmnet.evaluation.record import Record
from rmnet.evaluation.runner import compare_folders, run_benchmark
from rmnet.evaluation.youtube_vos import open_youtube_vos

__all__ = [
    "Benchmark",
    "ClipResult",
    "Record",
    "compare_folders",
    "describe_network",
    "describe_run",
    "open_davis",
    "open_folders",
    "open_youtube_vos",
    "run_benchmark",
]
