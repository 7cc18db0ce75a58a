"""Networks as graphs, their execution and training, on the kernels of :mod:`emoref_kernels`."""

from emoref.nn.batch_norm import reestimate_batch_norm
from emoref.nn.batches import ArrayData, TrainData
from emoref.nn.checkpoint import load_state, save_state
from emoref.nn.config import TrainConfig
from emoref.nn.executor import (
    Evaluation,
    StepResult,
    Tape,
    backward,
    evaluate,
    evaluate_data,
    forward,
    loss_and_gradients,
    predict,
    run_nodes,
)
from emoref.nn.graph import INPUT, LayerRow, Network, NetworkBuilder, Node
from emoref.nn.io import check_params, load, load_extra, save
from emoref.nn.loss import Loss
from emoref.nn.optim import SGD, Adam, make_optimizer
from emoref.nn.schedule import learning_rate
from emoref.nn.training import History, StepReport, TrainingState, fit

__all__ = [
    "INPUT",
    "SGD",
    "Adam",
    "ArrayData",
    "Evaluation",
    "History",
    "LayerRow",
    "Loss",
    "Network",
    "NetworkBuilder",
    "Node",
    "StepReport",
    "StepResult",
    "Tape",
    "TrainConfig",
    "TrainData",
    "TrainingState",
    "backward",
    "check_params",
    "evaluate",
    "evaluate_data",
    "fit",
    "forward",
    "learning_rate",
    "load",
    "load_extra",
    "load_state",
    "loss_and_gradients",
    "make_optimizer",
    "predict",
    "reestimate_batch_norm",
    "run_nodes",
    "save",
    "save_state",
]
