"""A network of somebody else's, as a plugin in the current folder."""

from pathlib import Path


def write_network(body: str, num_outputs: int = 2) -> list[str]:
    """`my_lab.Net` of `(B, 1, 24, 24)` images, and the overrides that choose it."""
    Path("my_lab.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        f"        self.head = nn.Linear(576, {num_outputs})\n"
        f"    def forward(self, images):\n        {body}\n"
    )
    return ["plugins=[my_lab]", "~model", "+model={_target_:my_lab.Net}"]
