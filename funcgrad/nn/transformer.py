"""The block that transformers repeat: attention, then a network of two layers at each position, each around a residual.

    block = nn.TransformerBlock(64, heads=8, causal=True, rotary=True)
    blocks = nn.Repeat(block, 6)                          # compiles once, however deep
    params, state = blocks.init(key)
    y = blocks(params, x)                                 # (batch, time, 64)
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad.nn.dropout import Dropout
from funcgrad.nn.functions import gelu
from funcgrad.nn.layer import Composite, Layer, Run
from funcgrad.nn.linear import Linear
from funcgrad.nn.multihead import MultiHeadAttention
from funcgrad.nn.normalization import LayerNorm


@dataclass(frozen=True)
class TransformerBlock(Composite):
    """``x = x + attention(norm(x))``, then ``x = x + down(activation(up(norm(x))))``, on (batch, time, features).

    Args:
      features, heads, key_value_heads, causal, rotary: as in ``MultiHeadAttention``.
      ratio: the hidden layer of the second part has ``ratio * features`` numbers.
      activation: of the hidden layer.
      norm: the kind of normalisation, as ``LayerNorm`` or ``RMSNorm``: ``norm(features, dtype=dtype)`` is a layer.
      norm_first: normalise what enters a part (Xiong et al., https://arxiv.org/abs/2002.04745); if False, the sum behind it:
        ``norm(x + part(x))``, as Vaswani et al. did.
      cross: between the two a third part attends to ``memory``, as in a decoder.
      dropout: in training, the rate for the weights of attention, the hidden layer, and what each part adds.
      bias: whether projections have one.
      dtype: of the parameters.

    Parts: "attention", "cross_attention", "up", "down", and "attention_norm", "cross_norm", "mlp_norm". ``apply`` takes
    ``mask`` for the attention, ``memory`` and ``memory_mask`` for the second one; a cache in the state as in
    ``MultiHeadAttention``.

    >>> block = TransformerBlock(8, heads=2)
    >>> params, _ = block.init(fg.random.key(0))
    >>> sorted(params)
    ['attention', 'attention_norm', 'down', 'mlp_norm', 'up']
    >>> block(params, fnp.ones((2, 3, 8), "float32")).shape
    (2, 3, 8)
    """

    features: int
    heads: int
    key_value_heads: int | None = None
    causal: bool = False
    rotary: bool = False
    ratio: float = 4
    activation: Callable = gelu
    norm: Callable[..., Layer] = LayerNorm
    norm_first: bool = True
    cross: bool = False
    dropout: float = 0.0
    bias: bool = True
    dtype: Any = np.float32

    def parts(self) -> dict[str, Layer]:
        hidden = int(self.ratio * self.features)
        common = {"dropout": self.dropout, "bias": self.bias, "dtype": self.dtype}
        parts = {"attention_norm": self.norm(self.features, dtype=self.dtype),
                 "attention": MultiHeadAttention(self.features, self.heads, self.key_value_heads, causal=self.causal,
                                                 rotary=self.rotary, **common),
                 "mlp_norm": self.norm(self.features, dtype=self.dtype),
                 "up": Linear(self.features, hidden, self.bias, dtype=self.dtype),
                 "down": Linear(hidden, self.features, self.bias, dtype=self.dtype),
                 "dropout": Dropout(self.dropout)}
        if self.cross:
            parts["cross_norm"] = self.norm(self.features, dtype=self.dtype)
            parts["cross_attention"] = MultiHeadAttention(self.features, self.heads, self.key_value_heads,
                                                          memory_features=self.features, **common)
        return parts

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        return super().init(key)  # no size is left open

    def forward(self, run: Run, x: Any, *, mask: Any = None, memory: Any = None, memory_mask: Any = None) -> Any:
        if self.cross != (memory is not None):
            self.fail("it has no memory to attend to" if self.cross else "it does not attend to a memory",
                      f"cross={self.cross}, memory {'of shape ' + str(memory.shape) if memory is not None else 'None'}", None,
                      "memory=... where cross=True")
        x = self._around(run, "attention_norm", x, lambda x: run("attention", x, mask=mask))
        if self.cross:
            x = self._around(run, "cross_norm", x, lambda x: run("cross_attention", x, memory=memory, mask=memory_mask))
        return self._around(run, "mlp_norm", x, lambda x: run("down", run("dropout", self.activation(run("up", x)))))

    def _around(self, run: Run, norm: str, x: Any, part: Callable) -> Any:
        """x plus what the part adds to it."""
        if self.norm_first:
            return x + run("dropout", part(run(norm, x)))
        return run(norm, x + run("dropout", part(x)))
