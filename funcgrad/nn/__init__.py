"""Neural networks: activations, initial values, losses, and layers whose parameters are plain trees.

Everything here is made of the public names of funcgrad; activations and ``initializers`` are named as in ``jax.nn``.

    model = nn.Sequential(nn.Linear(64, 128), nn.relu, nn.Linear(128, 10))
    params, state = model.init(fg.random.key(0))
    logits = model(params, x)
"""
from funcgrad.nn import initializers, losses
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
from funcgrad.nn.diagnosis import check_init
from funcgrad.nn.dropout import Dropout
from funcgrad.nn.embedding import Embedding
from funcgrad.nn.flatten import Flatten
from funcgrad.nn.functions import (
    celu,
    elu,
    geglu,
    gelu,
    glu,
    gumbel_softmax,
    hard_shrink,
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
    pixel_shuffle,
    pixel_unshuffle,
    prelu,
    reglu,
    relu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    soft_sign,
    softmax,
    softmin,
    softplus,
    sparse_plus,
    sparse_sigmoid,
    squareplus,
    standardize,
    swiglu,
    swish,
    tanh,
    tanh_shrink,
    threshold,
)
from funcgrad.nn.layer import Composite, Layer, Run, capture, check_params
from funcgrad.nn.linear import Bilinear, Linear
from funcgrad.nn.losses import (
    absolute_error,
    binary_cross_entropy,
    contrastive_loss,
    cosine_embedding_loss,
    ctc_loss,
    dice_loss,
    gaussian_nll,
    hinge_embedding_loss,
    hinge_loss,
    huber_loss,
    info_nce,
    kl_divergence,
    log_cosh,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    nt_xent,
    poisson_nll,
    quantile_loss,
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
    smooth_l1_loss,
    soft_margin_loss,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    squared_error,
    triplet_margin_loss,
)
from funcgrad.nn.multihead import MultiHeadAttention
from funcgrad.nn.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from funcgrad.nn.pooling import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, MaxPool
from funcgrad.nn.positions import rotary_embedding, sinusoidal_positions
from funcgrad.nn.recurrent import GRU, LSTM, RNN, Cell, GRUCell, LSTMCell, Recurrent, RNNCell
from funcgrad.nn.summary import summary
from funcgrad.nn.transformer import TransformerBlock
from funcgrad.nn.vectors import cosine_similarity, normalize, pairwise_distance
from funcgrad.nn.weight_norms import SpectralNorm, WeightNorm

__all__ = [
    "AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "BatchNorm", "Bilinear", "Cell", "Composite", "Conv1d", "Conv2d",
    "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "DepthwiseConv2d", "Dropout", "Embedding",
    "Flatten", "GRU", "GRUCell", "GroupNorm", "InstanceNorm", "LSTM", "LSTMCell", "Lambda", "Layer", "LayerNorm",
    "Linear", "MaxPool", "MultiHeadAttention", "Parallel", "RMSNorm", "RNN", "RNNCell", "Recurrent", "Repeat",
    "Residual", "Run", "Sequential", "SpectralNorm", "TransformerBlock", "WeightNorm", "absolute_error",
    "binary_cross_entropy", "capture", "celu", "check_init", "check_params", "contrastive_loss",
    "cosine_embedding_loss", "cosine_similarity", "ctc_loss", "dice_loss", "dot_product_attention", "elu",
    "gaussian_nll", "geglu", "gelu", "glu", "gumbel_softmax", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "hinge_embedding_loss", "hinge_loss", "huber_loss", "identity", "info_nce",
    "initializers", "kl_divergence", "leaky_relu", "log1mexp", "log_cosh", "log_sigmoid", "log_softmax", "logmeanexp",
    "logsumexp", "losses", "margin_ranking_loss", "mish", "multi_margin_loss", "multilabel_soft_margin_loss",
    "nll_loss", "normalize", "nt_xent", "one_hot", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll", "prelu", "quantile_loss", "reglu", "relu", "relu6", "rotary_embedding", "rrelu", "selu", "sigmoid",
    "sigmoid_binary_cross_entropy", "sigmoid_focal_loss", "silu", "sinusoidal_positions", "smooth_l1_loss",
    "soft_margin_loss", "soft_shrink", "soft_sign", "softmax", "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels", "softmin", "softplus", "sparse_plus", "sparse_sigmoid",
    "squared_error", "squareplus", "standardize", "summary", "swiglu", "swish", "tanh", "tanh_shrink", "threshold",
    "triplet_margin_loss",
]
