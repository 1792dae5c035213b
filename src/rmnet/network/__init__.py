"""RMNet as the paper describes it: no state over time, no files, no speed tricks."""

from rmnet.network.blocks import BasicBlock, Bottleneck, InvertedResidual, ResNetBlock
from rmnet.network.decoder import Decoder, Refinement, ResidualBlock
from rmnet.network.encoders import Encoder, Features, KeyValueHead, MemoryEncoder, other_objects
from rmnet.network.flow import TinyFlowNet
from rmnet.network.rmnet import QueryFeatures, RMNet, object_probabilities

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "Decoder",
    "Encoder",
    "Features",
    "InvertedResidual",
    "KeyValueHead",
    "MemoryEncoder",
    "QueryFeatures",
    "RMNet",
    "Refinement",
    "ResNetBlock",
    "ResidualBlock",
    "TinyFlowNet",
    "object_probabilities",
    "other_objects",
]
