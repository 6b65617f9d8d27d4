"""Networks of our own; MONAI's come by `_target_`."""

from pipeline.models.alexnet import AlexNet
from pipeline.models.freeze import freeze, head_of
from pipeline.models.googlenet import GoogLeNet
from pipeline.models.init import initialise
from pipeline.models.lenet5 import LeNet5
from pipeline.models.mlp import MLP
from pipeline.models.small_cnn import SmallCNN
from pipeline.models.vgg import VGG
from pipeline.models.vit import ViT

__all__ = [
    "MLP",
    "VGG",
    "AlexNet",
    "GoogLeNet",
    "LeNet5",
    "SmallCNN",
    "ViT",
    "freeze",
    "head_of",
    "initialise",
]
