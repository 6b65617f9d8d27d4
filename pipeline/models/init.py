"""How a network's weights begin."""

from torch import nn

from pipeline.config import Scheme

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def initialise(network: nn.Module, scheme: Scheme) -> None:
    """Draw the weights of convolutions and linear layers anew; `default` keeps what is there."""
    if scheme == "default":
        return
    for layer in network.modules():
        if isinstance(layer, LAYERS):
            if scheme == "kaiming_normal":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
