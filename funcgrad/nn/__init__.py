"""Neural networks: activations, initial values, losses, and layers whose parameters are plain trees.

Everything here is made of the public names of funcgrad; activations and ``initializers`` are named as in ``jax.nn``.

    model = nn.Sequential(nn.Linear(64, 128), nn.relu, nn.Linear(128, 10))
    params, state = model.init(fg.random.key(0))
    logits = model(params, x)
"""
from funcgrad.nn import initializers
from funcgrad.nn.attention import dot_product_attention
from funcgrad.nn.containers import Lambda, Parallel, Repeat, Residual, Sequential
from funcgrad.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    DepthwiseConv2d,
)
from funcgrad.nn.dropout import Dropout
from funcgrad.nn.embedding import Embedding
from funcgrad.nn.flatten import Flatten
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
from funcgrad.nn.linear import Bilinear, Linear
from funcgrad.nn.losses import (
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    squared_error,
)
from funcgrad.nn.multihead import MultiHeadAttention
from funcgrad.nn.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from funcgrad.nn.pooling import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, MaxPool
from funcgrad.nn.positions import rotary_embedding, sinusoidal_positions
from funcgrad.nn.recurrent import GRU, LSTM, RNN, Cell, GRUCell, LSTMCell, Recurrent, RNNCell
from funcgrad.nn.transformer import TransformerBlock
from funcgrad.nn.weight_norms import SpectralNorm, WeightNorm

__all__ = [
    "AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "BatchNorm", "Bilinear", "Cell", "Composite", "Conv1d", "Conv2d",
    "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "DepthwiseConv2d", "Dropout", "Embedding",
    "Flatten", "GRU", "GRUCell", "GroupNorm", "InstanceNorm", "LSTM", "LSTMCell", "Lambda", "Layer", "LayerNorm",
    "Linear", "MaxPool", "MultiHeadAttention", "Parallel", "RMSNorm", "RNN", "RNNCell", "Recurrent", "Repeat",
    "Residual", "Run", "Sequential", "SpectralNorm", "TransformerBlock", "WeightNorm", "capture", "celu",
    "check_params", "dot_product_attention", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "identity", "initializers", "leaky_relu", "log1mexp", "log_sigmoid", "log_softmax", "logmeanexp",
    "logsumexp", "mish", "one_hot", "relu", "relu6", "rotary_embedding", "selu", "sigmoid",
    "sigmoid_binary_cross_entropy", "silu", "sinusoidal_positions", "soft_sign", "softmax", "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels", "softplus", "sparse_plus", "sparse_sigmoid", "squared_error",
    "squareplus", "standardize", "swish", "tanh",
]
