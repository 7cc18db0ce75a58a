"""Several networks whose parameters live in one store, so that they can share some of them.

A task's network is an ordinary :class:`emoref.nn.Network` with ordinary parameters. What makes several of
them one multi-task network is where the parameters come from: a *store* of arrays by name, and for each
parameter of each network a :class:`Binding` that says which array, which rows (filters) and which columns
(input channels) of it are this parameter. Arrays, or rows of them, that several networks are bound to are
shared parts; what one network alone is bound to is its private part, such as its head and its batch norms.

The engine knows nothing of this. A forward pass takes a network and :meth:`MultiTaskNetwork.params`; the
gradients that come back are added to gradients of the store (:func:`emoref.nn.fit_jointly`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import NetworkError, ShapeError
from emoref.nn.graph import Network

__all__ = ["Binding", "MultiTaskNetwork", "check_tasks", "head_of", "initial_store", "shared_trunk"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Binding:
    """Where a parameter of a network lives in the store.

    Parameters
    ----------
    name : str
        The stored array.
    rows : int array, optional
        Its rows (axis 0) that make up the parameter, each once; all where left out.
    columns : int array, optional
        Its columns (axis 1), each once; all where left out.
    """

    name: str
    rows: NDArray[np.intp] | None = None
    columns: NDArray[np.intp] | None = None

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part of an array of shape `stored`."""
        sizes = list(stored)
        for axis, chosen in enumerate((self.rows, self.columns)):
            if chosen is not None:
                sizes[axis] = len(chosen)
        return tuple(sizes)

    def take(self, stored: Array) -> Array:
        """Return the part: `stored` itself where it is the whole, else a new array."""
        part = stored if self.rows is None else stored[self.rows]
        return part if self.columns is None else part.take(self.columns, axis=1)

    def put(self, stored: Array, values: Array) -> None:
        """Write `values` into the part, in place."""
        stored[self._where(stored)] = values

    def add(self, stored: Array, values: Array) -> None:
        """Add `values` to the part, in place."""
        stored[self._where(stored)] += values

    def _where(self, stored: Array) -> Any:
        if self.columns is None:
            return ... if self.rows is None else self.rows
        rows = np.arange(len(stored)) if self.rows is None else self.rows
        return np.ix_(rows, self.columns)


@dataclass(frozen=True, eq=False)
class MultiTaskNetwork:
    """Networks of several tasks over one store of parameters.

    Parameters
    ----------
    tasks : tuple of str
        Names of the tasks.
    networks : tuple of Network
        One for each task.
    bindings : tuple of mapping of str to Binding
        For each task, where every parameter and buffer of its network lives.
    shapes : mapping of str to tuple of int
        The shape of every stored array.

    Raises
    ------
    NetworkError
        If there is no task, a name comes twice, a parameter is not bound or bound to a part of another
        shape, or two networks share running statistics, which belong to one task's images.
    """

    tasks: tuple[str, ...]
    networks: tuple[Network, ...]
    bindings: tuple[Mapping[str, Binding], ...]
    shapes: Mapping[str, tuple[int, ...]]
    _trainable: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise NetworkError("a multi-task network needs at least one task")
        if len(set(self.tasks)) < len(self.tasks):
            raise NetworkError(f"two tasks have the same name: {', '.join(self.tasks)}")
        if not len(self.tasks) == len(self.networks) == len(self.bindings):
            raise NetworkError(
                f"{len(self.tasks)} tasks, {len(self.networks)} networks and {len(self.bindings)} sets of "
                "bindings; there must be one of each for every task"
            )
        trained: dict[str, None] = {}
        owners: dict[str, str] = {}
        for task, net, bindings in zip(self.tasks, self.networks, self.bindings, strict=True):
            trainable = set(net.trainable())
            for name, shape in net.param_shapes().items():
                self._check(task, name, shape, bindings)
                stored = bindings[name].name
                if name in trainable:
                    trained[stored] = None
                elif owners.setdefault(stored, task) != task:
                    raise NetworkError(
                        f"tasks {owners[stored]!r} and {task!r} share the running statistics {stored!r}; "
                        "those of a batch norm must be private"
                    )
        object.__setattr__(self, "_trainable", tuple(name for name in self.shapes if name in trained))

    def _check(self, task: str, name: str, shape: tuple[int, ...], bindings: Mapping[str, Binding]) -> None:
        binding = bindings.get(name)
        if binding is None or binding.name not in self.shapes:
            raise NetworkError(f"task {task!r}: parameter {name!r} is bound to no stored array")
        found = binding.shape(self.shapes[binding.name])
        if found != shape:
            raise NetworkError(
                f"task {task!r}: parameter {name!r} has shape {shape}, but is bound to a part of "
                f"{binding.name!r} of shape {found}"
            )

    def trainable(self) -> tuple[str, ...]:
        """Return the names of the stored arrays that training changes by gradients."""
        return self._trainable

    def params(self, store: Mapping[str, Array], task: int) -> dict[str, Array]:
        """Return the parameters of one task's network.

        Parameters
        ----------
        store : mapping of str to ndarray
            The stored arrays.
        task : int
            Which task.

        Returns
        -------
        dict of str to ndarray
            Arrays that are bound as a whole are those of the store, not copies.
        """
        return {name: binding.take(store[binding.name]) for name, binding in self.bindings[task].items()}

    def export(self, store: Mapping[str, Array], task: int) -> tuple[Network, dict[str, Array]]:
        """Return one task's network with parameters of its own, which nothing else refers to."""
        params = self.params(store, task)
        return self.networks[task], {name: np.array(value) for name, value in params.items()}

    def check_store(self, store: Mapping[str, Array]) -> None:
        """Raise ShapeError unless `store` holds exactly the arrays of :attr:`shapes`."""
        if set(store) != set(self.shapes):
            wrong = sorted(set(store) ^ set(self.shapes))[0]
            raise ShapeError(f"store: array {wrong!r} is {'not known' if wrong in store else 'missing'}")
        for name, shape in self.shapes.items():
            if store[name].shape != shape:
                raise ShapeError(f"store: array {name!r} must have shape {shape}, got {store[name].shape}")


def head_of(net: Network) -> str:
    """Return the name of the layer that makes the classes: the last linear layer or convolution.

    Parameters
    ----------
    net : Network
        The network.

    Raises
    ------
    NetworkError
        If the network has neither.
    """
    layers = [node.name for node in net.nodes if node.op in ("conv2d", "linear")]
    if not layers:
        raise NetworkError(f"network {net.name!r} has no layer that could be a head")
    return layers[-1]


def check_tasks(tasks: Sequence[str], networks: Sequence[Network]) -> None:
    """Check that networks differ in nothing but the sizes of their heads.

    Parameters
    ----------
    tasks : sequence of str
        Names of the tasks, for the message.
    networks : sequence of Network
        One for each.

    Raises
    ------
    NetworkError
        If there is no task; if input shapes or architectures differ (names the tasks and the first node that
        differs).
    """
    if not networks:
        raise NetworkError("the list of tasks is empty; give at least one")
    first, head = networks[0], head_of(networks[0])
    for task, net in zip(tasks[1:], networks[1:], strict=True):
        pair = f"tasks {tasks[0]!r} and {task!r}"
        if net.input_shape != first.input_shape:
            raise NetworkError(
                f"{pair} have networks for inputs of different shape, {first.input_shape} and "
                f"{net.input_shape}; networks that share filters take the same"
            )
        different = f"{pair} have networks of different architecture"
        if len(net.nodes) != len(first.nodes):
            raise NetworkError(f"{different}: {len(first.nodes)} and {len(net.nodes)} nodes")
        for ours, theirs in zip(first.nodes, net.nodes, strict=True):
            if ours == theirs or (ours.name == theirs.name == head and _equal_but_size(ours, theirs)):
                continue
            raise NetworkError(f"{different}: {_words(ours)} against {_words(theirs)}")


def _equal_but_size(ours: Any, theirs: Any) -> bool:
    size = "units" if ours.op == "linear" else "filters"
    plain = [{k: v for k, v in node.attrs.items() if k != size} for node in (ours, theirs)]
    return ours.op == theirs.op and ours.inputs == theirs.inputs and plain[0] == plain[1]


def _words(node: Any) -> str:
    return f"{node.op} {node.name!r} {dict(node.attrs)}"


def shared_trunk(tasks: Sequence[str], networks: Sequence[Network]) -> MultiTaskNetwork:
    """Return the joint network: everything is shared but heads and batch norms.

    Parameters
    ----------
    tasks : sequence of str
        Names of the tasks.
    networks : sequence of Network
        Equal but for the sizes of their heads; see :func:`check_tasks`.

    Returns
    -------
    MultiTaskNetwork
        Stored arrays have the names of the parameters (``"conv1.weight"``); private ones begin with the task
        (``"digits.fc2.weight"``).

    Raises
    ------
    NetworkError
        If the networks do not fit together.
    """
    check_tasks(tasks, networks)
    head = head_of(networks[0])

    def name_of(task: str, net: Network, name: str) -> str:
        node = net.node(name.rpartition(".")[0])
        return f"{task}.{name}" if node.name == head or node.op == "batch_norm" else name

    shapes: dict[str, tuple[int, ...]] = {}
    bindings = []
    for task, net in zip(tasks, networks, strict=True):
        bound = {name: Binding(name_of(task, net, name)) for name in net.param_shapes()}
        shapes.update({bound[name].name: shape for name, shape in net.param_shapes().items()})
        bindings.append(bound)
    return MultiTaskNetwork(tuple(tasks), tuple(networks), tuple(bindings), shapes)


def initial_store(multi: MultiTaskNetwork, params: Callable[[int], Mapping[str, Array]]) -> dict[str, Array]:
    """Return a store filled from each task's parameters, ``params(task)``; of shared ones the first counts.

    Parameters
    ----------
    multi : MultiTaskNetwork
        The networks.
    params : callable
        Gives the parameters of a task's network.

    Returns
    -------
    dict of str to ndarray
        New arrays; parts that no network is bound to are zero.
    """
    store: dict[str, Array] = {}
    for task in reversed(range(len(multi.tasks))):
        values = params(task)
        for name, binding in multi.bindings[task].items():
            stored = multi.shapes[binding.name]
            target = store.setdefault(binding.name, np.zeros(stored, values[name].dtype))
            binding.put(target, values[name])
    return {name: store[name] for name in multi.shapes}
