"""RMNet as the paper describes it: no state over time, no files, no speed tricks."""

from rmnet.network.blocks import BasicBlock, Bottleneck, InvertedResidual, ResNetBlock
from rmnet.network.decoder import Decoder, Refinement, ResidualBlock
from rmnet.network.encoders import Encoder, Features, KeyValueHead, MemoryEncoder, other_objects
from rmnet.network.flow import TinyFlowNet
from rmnet.network.prompt import PLANES, PromptNetwork
from rmnet.network.rmnet import QueryFeatures, RMNet, object_probabilities

__all__ = [
    "PLANES",
    "BasicBlock",
    "Bottleneck",
    "Decoder",
    "Encoder",
    "Features",
    "InvertedResidual",
    "KeyValueHead",
    "MemoryEncoder",
    "PromptNetwork",
    "QueryFeatures",
    "RMNet",
    "Refinement",
    "ResNetBlock",
    "ResidualBlock",
    "TinyFlowNet",
    "object_probabilities",
    "other_objects",
]
