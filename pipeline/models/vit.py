"""The vision transformer, ViT (Dosovitskiy et al. 2021)."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pipeline.models.layers import CONVOLUTIONS


class ViT(nn.Module):
    """Patches as words, a class token in front: (B, in_channels, ...) -> (B, num_classes) logits.

    The number of patches is part of the network: it takes images of one size.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        in_channels: int,
        num_classes: int,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        dropout: float = 0.0,
    ) -> None:
        """`width` is the length of a patch's vector; the units within a block are four times that.

        ValueError for images that cannot be cut into patches, or a width that heads cannot share.
        """
        super().__init__()
        if any(side % patch_size for side in image_size):
            raise ValueError(
                f"images of {'x'.join(map(str, image_size))} cannot be cut into patches of "
                f"{patch_size}: set model.patch_size to a divisor of every side, or resize the "
                f"images to multiples of {patch_size} (smallest size: "
                f"{'x'.join([str(patch_size)] * len(image_size))})"
            )
        if width % num_heads:
            raise ValueError(f"width ({width}) must be divisible by num_heads ({num_heads})")
        num_patches = prod(side // patch_size for side in image_size)
        self.patches = CONVOLUTIONS[len(image_size)](in_channels, width, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + num_patches, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*[Block(width, num_heads, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)  # (B, patches, width)
        words = torch.cat([self.class_token.expand(images.shape[0], -1, -1), patches], dim=1)
        words = self.blocks(self.dropout(words + self.positions))
        logits: Tensor = self.classifier(self.norm(words[:, 0]))
        return logits


class Block(nn.Module):
    """Attention, then a perceptron, each on the normalised words and added to them."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, words: Tensor) -> Tensor:
        words = words + self.dropout(self.project(self._attention(self.norm_1(words))))
        refined: Tensor = words + self.perceptron(self.norm_2(words))
        return refined

    def _attention(self, words: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width), each head on its share of the width."""
        split = self.query_key_value(words).unflatten(2, (3, self.num_heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (B, heads, N, width / heads)
        return scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
