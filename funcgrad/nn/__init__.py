"""Neural networks: activations, initial values, losses, and layers whose parameters are plain trees.

Everything here is made of the public names of funcgrad; activations and ``initializers`` are named as in ``jax.nn``.

    model = nn.Sequential(nn.Linear(64, 128), nn.relu, nn.Linear(128, 10))
    params, state = model.init(fg.random.key(0))
    logits = model(params, x)
"""
from funcgrad.nn import initializers
from funcgrad.nn.attention import dot_product_attention
from funcgrad.nn.containers import Lambda, Parallel, Repeat, Residual, Sequential
from funcgrad.nn.functions import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    identity,
    leaky_relu,
    log1mexp,
    log_sigmoid,
    log_softmax,
    logmeanexp,
    logsumexp,
    mish,
    one_hot,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softmax,
    softplus,
    sparse_plus,
    sparse_sigmoid,
    squareplus,
    standardize,
    swish,
    tanh,
)
from funcgrad.nn.layer import Composite, Layer, Run, capture, check_params
from funcgrad.nn.linear import Linear
from funcgrad.nn.losses import (
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    squared_error,
)
from funcgrad.nn.multihead import MultiHeadAttention
from funcgrad.nn.positions import rotary_embedding, sinusoidal_positions
from funcgrad.nn.recurrent import GRU, LSTM, RNN, Cell, GRUCell, LSTMCell, Recurrent, RNNCell
from funcgrad.nn.transformer import TransformerBlock

__all__ = [
    "Cell", "Composite", "GRU", "GRUCell", "LSTM", "LSTMCell", "Lambda", "Layer", "Linear", "MultiHeadAttention",
    "Parallel", "RNN", "RNNCell", "Recurrent", "Repeat", "Residual", "Run", "Sequential", "TransformerBlock", "capture",
    "celu", "check_params", "dot_product_attention", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "identity", "initializers", "leaky_relu", "log1mexp", "log_sigmoid", "log_softmax", "logmeanexp",
    "logsumexp", "mish", "one_hot", "relu", "relu6", "rotary_embedding", "selu", "sigmoid",
    "sigmoid_binary_cross_entropy", "silu", "sinusoidal_positions", "soft_sign", "softmax", "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels", "softplus", "sparse_plus", "sparse_sigmoid", "squared_error",
    "squareplus", "standardize", "swish", "tanh",
]
