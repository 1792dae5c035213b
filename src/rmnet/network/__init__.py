"""RMNet as the paper describes it: modules without state over time, files or devices."""

from rmnet.network.blocks import BasicBlock, Bottleneck, InvertedResidual
from rmnet.network.decoder import Refinement, ResidualBlock
from rmnet.network.encoders import Encoder, KeyValueHead, MemoryEncoder, other_objects
from rmnet.network.rmnet import QueryFeatures, RMNet, object_probabilities

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "Encoder",
    "InvertedResidual",
    "KeyValueHead",
    "MemoryEncoder",
    "QueryFeatures",
    "RMNet",
    "Refinement",
    "ResidualBlock",
    "object_probabilities",
    "other_objects",
]
