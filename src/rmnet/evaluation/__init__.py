"""Whole data sets: track every clip, score it, record it, and resume where a run stopped."""

from rmnet.evaluation.clip import Benchmark, ClipResult, EvaluationClip
from rmnet.evaluation.davis import evaluate_sequence, open_davis, open_folders
from rmnet.evaluation.record import Record, describe_network, describe_run
from rmnet.evaluation.runner import compare_folders, run_benchmark
from rmnet.evaluation.statistics import SequenceScores, summarise_davis
from rmnet.evaluation.youtube_vos import (
    MetaObject,
    ObjectScore,
    open_youtube_vos,
    read_meta,
    score_objects,
    summarise_youtube_vos,
)

__all__ = [
    "Benchmark",
    "ClipResult",
    "EvaluationClip",
    "MetaObject",
    "ObjectScore",
    "Record",
    "SequenceScores",
    "compare_folders",
    "describe_network",
    "describe_run",
    "evaluate_sequence",
    "open_davis",
    "open_folders",
    "open_youtube_vos",
    "read_meta",
    "run_benchmark",
    "score_objects",
    "summarise_davis",
    "summarise_youtube_vos",
]
