"""Networks as graphs, their execution and training, on the kernels of :mod:`emoref_kernels`."""

from emoref.nn.batch_norm import reestimate_batch_norm
from emoref.nn.batches import ArrayData, TrainData
from emoref.nn.builder import NetworkBuilder
from emoref.nn.checkpoint import load_state, save_state
from emoref.nn.config import TrainConfig
from emoref.nn.evaluation import Evaluation, Predictor, evaluate, evaluate_data, predict
from emoref.nn.executor import (
    StepResult,
    Tape,
    backward,
    forward,
    loss_and_gradients,
    run_nodes,
)
from emoref.nn.graph import INPUT, LayerRow, Network, Node
from emoref.nn.io import check_params, load, load_extra, save
from emoref.nn.joint import JointState, fit_jointly, load_joint_state, save_joint_state
from emoref.nn.loss import Loss
from emoref.nn.multitask import (
    Binding,
    MultiTaskNetwork,
    check_tasks,
    head_of,
    initial_store,
    shared_trunk,
)
from emoref.nn.optim import SGD, Adam, make_optimizer
from emoref.nn.schedule import learning_rate
from emoref.nn.split import cut_points, join, join_params, split_params
from emoref.nn.training import History, StepReport, TrainingState, fit

__all__ = [
    "INPUT",
    "SGD",
    "Adam",
    "ArrayData",
    "Binding",
    "Evaluation",
    "History",
    "JointState",
    "LayerRow",
    "Loss",
    "MultiTaskNetwork",
    "Network",
    "NetworkBuilder",
    "Node",
    "Predictor",
    "StepReport",
    "StepResult",
    "Tape",
    "TrainConfig",
    "TrainData",
    "TrainingState",
    "backward",
    "check_params",
    "check_tasks",
    "cut_points",
    "evaluate",
    "evaluate_data",
    "fit",
    "fit_jointly",
    "forward",
    "head_of",
    "initial_store",
    "join",
    "join_params",
    "learning_rate",
    "load",
    "load_extra",
    "load_joint_state",
    "load_state",
    "loss_and_gradients",
    "make_optimizer",
    "predict",
    "reestimate_batch_norm",
    "run_nodes",
    "save",
    "save_joint_state",
    "save_state",
    "shared_trunk",
    "split_params",
]
