"""Learning an embedding in which looks at one lesion lie close together: NT-Xent.

Chen et al., "A simple framework for contrastive learning of visual representations" (SimCLR), ICML 2020, equation 1;
InfoNCE: van den Oord et al., arXiv 1807.03748, 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class NTXentLoss(nn.Module):
    """Mean over both looks at every lesion of -log softmax similarity to the other look, among all other crops.

    Args:
        temperature: divides cosine similarities, > 0.

    Raises:
        ValueError: for a temperature that is not positive.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, embeddings: Tensor, unknown: Tensor | None = None) -> Tensor:
        """The loss of one batch.

        Args:
            embeddings: [2 N, D] of length 1; rows i and N + i are two looks at lesion i.
            unknown: [N, N] bool, pairs of lesions that are neither positive nor negative (the same lesion, perhaps:
                one patient's other scans); None = all other lesions are negatives. The diagonal is not looked at.

        Raises:
            ValueError: an odd number of rows, or ``unknown`` of another size.
        """
        rows = len(embeddings)
        if rows < 2 or rows % 2:
            raise ValueError(f"expected two embeddings a lesion, got {rows} rows")
        lesions = rows // 2
        similarity = embeddings @ embeddings.T / self.temperature
        left_out = torch.eye(rows, dtype=torch.bool, device=embeddings.device)
        if unknown is not None:
            if unknown.shape != (lesions, lesions):
                raise ValueError(f"expected unknown pairs [{lesions}, {lesions}], got {list(unknown.shape)}")
            others = unknown.to(embeddings.device) & ~left_out[:lesions, :lesions]
            left_out = left_out | others.repeat(2, 2)
        partner = torch.arange(rows, device=embeddings.device).roll(lesions)
        return cross_entropy(similarity.masked_fill(left_out, float("-inf")), partner)
