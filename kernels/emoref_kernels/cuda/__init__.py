"""The CUDA back end: compiled with Numba for NVIDIA GPUs, float32.

Every function is the twin of one of the same name in `emoref_kernels.reference`, which documents it. It takes
NumPy arrays, or arrays of the device (`emoref_kernels.cuda.array`), between which nothing is copied.
"""

from .conv import conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad
from .elementwise import add, concat, concat_grad, dropout, dropout_grad, relu, relu_grad, tanh, tanh_grad
from .linear import linear, linear_bias_grad, linear_input_grad, linear_weight_grad
from .local_response import local_response_norm, local_response_norm_grad
from .loss import (
    distillation_loss,
    distillation_loss_grad,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_grad,
)
from .norm import (
    batch_norm,
    batch_norm_grad,
    batch_norm_sum_grad,
    batch_norm_train,
    batch_norm_train_grad,
)
from .optim import adam_update, sgd_update
from .pareto import crowding_distance, hypervolume, nondominated_ranks
from .pool import (
    avg_pool2d,
    avg_pool2d_grad,
    global_avg_pool2d,
    global_avg_pool2d_grad,
    max_pool2d,
    max_pool2d_grad,
)

__all__ = [
    "adam_update",
    "add",
    "avg_pool2d",
    "avg_pool2d_grad",
    "batch_norm",
    "batch_norm_grad",
    "batch_norm_sum_grad",
    "batch_norm_train",
    "batch_norm_train_grad",
    "concat",
    "concat_grad",
    "conv2d",
    "conv2d_bias_grad",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "crowding_distance",
    "distillation_loss",
    "distillation_loss_grad",
    "dropout",
    "dropout_grad",
    "global_avg_pool2d",
    "global_avg_pool2d_grad",
    "hypervolume",
    "linear",
    "linear_bias_grad",
    "linear_input_grad",
    "linear_weight_grad",
    "local_response_norm",
    "local_response_norm_grad",
    "max_pool2d",
    "max_pool2d_grad",
    "nondominated_ranks",
    "relu",
    "relu_grad",
    "sgd_update",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_grad",
    "tanh",
    "tanh_grad",
]
