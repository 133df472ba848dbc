"""Writes torch_sequences.json: outputs and gradients of torch's recurrent layers, attention and transformer blocks.

Run with an environment that has torch: python tests/reference/make_torch_sequences.py > tests/reference/torch_sequences.json

Weights, inputs and what the outputs are multiplied with to get a number are not stored: ``numbers`` makes them here and in the
test, in the order of the names.
"""
import json

import numpy as np
import torch

BATCH, TIME, IN, FEATURES, HEADS, MEMORY = 2, 4, 3, 4, 2, 5
LENGTHS = [4, 2]


def numbers(shape, seed):
    """Irregular numbers between -0.9 and 0.9."""
    return 0.9 * np.sin(1.7 * np.arange(np.prod(shape, dtype=int)) ** 1.2 + seed).reshape(shape)


def tensor(shape, seed):
    return torch.from_numpy(numbers(shape, seed)).requires_grad_()


def run(module, forward, inputs):
    """The outputs, and the gradients of their weighted sum with respect to the weights and the inputs."""
    module.double().train()
    with torch.no_grad():
        for i, (_, weight) in enumerate(sorted(module.named_parameters())):
            weight.copy_(torch.from_numpy(numbers(weight.shape, i)))
    given = {name: tensor(shape, 100 + i) for i, (name, shape) in enumerate(inputs.items())}
    outputs = forward(module, **given)
    loss = sum((y * torch.from_numpy(numbers(y.shape, 200 + i))).sum() for i, y in enumerate(outputs))
    loss.backward()
    weights = dict(module.named_parameters())
    return {"outputs": [listed(y) for y in outputs],
            "weights": {name: list(w.shape) for name, w in sorted(weights.items())},
            "inputs": inputs,
            "gradients": {name: listed(w.grad) for name, w in sorted((weights | given).items())}}


def listed(x):
    return [float(f"{v:.13g}") for v in x.detach().ravel().tolist()]


def recurrent(kind, packed=False, **options):
    module = getattr(torch.nn, kind)(IN, FEATURES, batch_first=True, **options)
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    inputs = {"x": (BATCH, TIME, IN), "h": (rows, BATCH, FEATURES)} | ({"c": (rows, BATCH, FEATURES)} if kind == "LSTM" else {})

    def forward(module, x, h, c=None):
        if packed:
            x = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True)
        y, last = module(x, (h, c) if c is not None else h)
        if packed:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
        return [y, *(last if c is not None else [last])]

    return run(module, forward, inputs)


def attention(cross=False, causal=False, masked=False):
    options = {"kdim": IN, "vdim": IN} if cross else {}
    module = torch.nn.MultiheadAttention(FEATURES, HEADS, batch_first=True, **options)
    inputs = {"x": (BATCH, TIME, FEATURES)} | ({"memory": (BATCH, MEMORY, IN)} if cross else {})

    def forward(module, x, memory=None):
        memory = x if memory is None else memory
        hidden = torch.arange(memory.shape[1]) >= torch.tensor([[MEMORY], [2]]) if masked else None
        future = torch.ones(TIME, TIME, dtype=torch.bool).triu(1) if causal else None
        return module(x, memory, memory, key_padding_mask=hidden, attn_mask=future, average_attn_weights=False)

    return run(module, forward, inputs)


def block(cross=False, **options):
    kind = torch.nn.TransformerDecoderLayer if cross else torch.nn.TransformerEncoderLayer
    module = kind(FEATURES, HEADS, dim_feedforward=2 * FEATURES, dropout=0.0, batch_first=True, **options)
    inputs = {"x": (BATCH, TIME, FEATURES)} | ({"memory": (BATCH, MEMORY, FEATURES)} if cross else {})
    future = torch.ones(TIME, TIME, dtype=torch.bool).triu(1)

    def forward(module, x, memory=None):
        return [module(x, memory, tgt_mask=future)] if cross else [module(x, src_mask=future)]

    return run(module, forward, inputs)


CASES = {
    "rnn": recurrent("RNN"),
    "rnn relu": recurrent("RNN", nonlinearity="relu", bidirectional=True),
    "lstm": recurrent("LSTM"),
    "lstm deep": recurrent("LSTM", num_layers=2, bidirectional=True, bias=False),
    "lstm packed": recurrent("LSTM", packed=True, num_layers=2, bidirectional=True),
    "gru": recurrent("GRU"),
    "gru packed": recurrent("GRU", packed=True, num_layers=2, bidirectional=True),
    "attention": attention(),
    "attention causal": attention(causal=True),
    "attention cross": attention(cross=True, masked=True),
    "block": block(norm_first=True, activation="gelu"),
    "block post": block(activation="relu"),
    "block cross": block(cross=True, norm_first=True, activation="relu"),
}
print(json.dumps(CASES, separators=(",", ":")).replace('},"', '},\n"'))
