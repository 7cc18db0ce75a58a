"""Storing sparse networks: each task's plain network, and all of them quantised and coded.

Sparsity turns into bytes where zeros are not stored: the coders of :mod:`emoref.compress.coding` write the
trunk once and a head for every task. A network with private batch norms has no such common form, and is
written as one file for each task.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from emoref import compress, nn
from emoref.compress import EmzSize, load_emz, quantize_network, save_emz
from emoref.data import Dataset
from emoref.nn import MultiTaskNetwork, Network, head_of
from emoref.nn.graph import Node
from emoref.runs.config import Section
from emoref.runs.folder import RunFolder
from emoref.runs.progress import Progress
from emoref.runs.shared_record import TaskFigures
from emoref.runs.sparse_record import SparseRecord, read_sparse_records, write_sparse_record
from emoref.systems import steps, tasks
from emoref.systems.steps import Params
from emoref.systems.tasks import Task, TasksConfig

if TYPE_CHECKING:
    from emoref.systems.joint_sparse_pick import Pick

__all__ = ["StoreSection", "Trained", "joint_network", "load_stored", "store_network", "test_all"]

_JOINT = "network.emz"


class StoreSection(Section):
    """How the weights of the coded files are quantised."""

    bits: Annotated[int, Field(ge=2, le=16)] = 8  # of every weight; one symmetric grid a layer


@dataclass(frozen=True)
class Trained:
    """A joint network with its parameters.

    Attributes
    ----------
    multi : MultiTaskNetwork
        One trunk, a head for each task.
    store : dict of str to ndarray
        The stored arrays.
    """

    multi: MultiTaskNetwork
    store: Params

    def params(self, task: int) -> Params:
        """Return the parameters of one task's network; arrays of the trunk are those of the store."""
        return self.multi.params(self.store, task)


def joint_network(multi: MultiTaskNetwork) -> Network | None:
    """Return one network with the trunk and all heads; its results are the logits of all tasks in a row.

    Parameters
    ----------
    multi : MultiTaskNetwork
        The joint network.

    Returns
    -------
    Network or None
        The task's own network for a single task. None where tasks have private layers beside their heads
        (batch norms), or a head is not the last layer.
    """
    first = multi.networks[0]
    head = head_of(first)
    if len(multi.tasks) == 1:
        return first
    if first.output.name != head or any(node.op == "batch_norm" for node in first.nodes):
        return None
    heads = [
        Node(f"{head}-{task}", net.output.op, net.output.inputs, net.output.attrs)
        for task, net in zip(multi.tasks, multi.networks, strict=True)
    ]
    joined = Node("heads", "concat", tuple(node.name for node in heads), {})
    return Network(f"{first.name}-joint", first.input_shape, (*first.nodes[:-1], *heads, joined))


def joint_params(trained: Trained, net: Network) -> Params:
    """Return the parameters of :func:`joint_network` for a stored network."""
    multi, head = trained.multi, head_of(trained.multi.networks[0])
    if len(multi.tasks) == 1:
        return trained.params(0)
    params = {}
    for t, task in enumerate(multi.tasks):
        for name, value in trained.params(t).items():
            layer, _, leaf = name.rpartition(".")
            params[f"{head}-{task}.{leaf}" if layer == head else name] = value
    return {name: params[name] for name in net.param_shapes()}


# ---------------------------------------------------------------------------------------- coded files


def _write_coded(folder: Path, trained: Trained, bits: int) -> list[EmzSize]:
    joint = joint_network(trained.multi)
    if joint is not None:
        compressed = quantize_network(joint, joint_params(trained, joint), bits)
        return [save_emz(folder / _JOINT, compressed)]
    sizes = []
    for t, (task, net) in enumerate(zip(trained.multi.tasks, trained.multi.networks, strict=True)):
        compressed = quantize_network(net, trained.params(t), bits)
        sizes.append(save_emz(folder / f"{task}.emz", compressed))
    return sizes


def load_stored(folder: Path, multi: MultiTaskNetwork) -> list[Params]:
    """Return each task's parameters as the coded files of a sparse network hold them.

    Parameters
    ----------
    folder : Path
        ``exports/<name>``.
    multi : MultiTaskNetwork
        The joint network.

    Raises
    ------
    FileFormatError
        If a file is missing or damaged.
    """
    head = head_of(multi.networks[0])
    if joint_network(multi) is None:
        return [load_emz(folder / f"{task}.emz").params() for task in multi.tasks]
    params = load_emz(folder / _JOINT).params()
    if len(multi.tasks) == 1:
        return [params]

    def own(task: str, name: str) -> str:
        layer, _, leaf = name.rpartition(".")
        return f"{head}-{task}.{leaf}" if layer == head else name

    return [
        {name: params[own(task, name)] for name in net.param_shapes()}
        for task, net in zip(multi.tasks, multi.networks, strict=True)
    ]


# ------------------------------------------------------------------------------------------- storing


def store_network(
    section: StoreSection,
    pick: "Pick",
    group: str,
    trained: Trained,
    held_out: Sequence[Dataset],
    earlier: tuple[Sequence[nn.Evaluation], Sequence[nn.Evaluation]],
    curves: dict[str, list[float]],
    backend: str,
    folder: RunFolder,
) -> SparseRecord:
    """Write a fine-tuned sparse network, and measure what was written on the validation images.

    Parameters
    ----------
    section : StoreSection
        Bits of the coded files.
    pick : Pick
        What was chosen.
    group : str
        Whose network it is.
    trained : Trained
        The network after its fine-tuning.
    held_out : sequence of Dataset
        Each task's validation images.
    earlier : tuple of two sequences of Evaluation
        Of the unpruned network, and of the pruned one before the fine-tuning.
    curves : dict of str to list of float
        Of the fine-tuning.
    backend : str
        The back end that computes.
    folder : RunFolder
        The run.

    Returns
    -------
    SparseRecord
        Its figures; stored last, so that a network with figures is complete.
    """
    multi = trained.multi
    place = folder.make_folder(folder.exports / pick.name)
    for t, task in enumerate(multi.tasks):
        classes = list(held_out[t].classes)
        nn.save(
            place / f"{task}.h5", *multi.export(trained.store, t), extra={"task": task, "classes": classes}
        )
    sizes = _write_coded(place, trained, section.bits)
    after = tasks.evaluate_shared(multi, trained.store, held_out, backend)
    stored = tasks.evaluate_each(multi.networks, load_stored(place, multi), held_out, backend)
    figures = [
        _figures(task, multi.networks[t], trained.params(t), original, before, after[t])
        for t, (task, original, before) in enumerate(zip(multi.tasks, *earlier, strict=True))
    ]
    sections = {s.name: s for size in sizes for s in size.sections if s.coder != "raw"}
    record = SparseRecord(
        name=pick.name,
        group=group,
        choice=pick.choice,
        kept_ratio=pick.kept_ratio,
        kept=pick.kept,
        weights=pick.weights,
        tasks=figures,
        stored_wrong=[one.wrong for one in stored],
        bits=section.bits,
        coders={name.removesuffix(".weight"): one.coder for name, one in sections.items()},
        file_bytes=sum(size.file_bytes for size in sizes),
        dense_bytes=4 * sum(value.size for value in trained.store.values()),
        # A resumed training lists its curves in another order.
        curves=dict(sorted(curves.items())),
    )
    write_sparse_record(folder, record)
    return record


def _figures(
    task: str,
    net: Network,
    params: Params,
    original: nn.Evaluation,
    before: nn.Evaluation,
    after: nn.Evaluation,
) -> TaskFigures:
    """Return a task's figures; MACs and parameters are those of weights that are not zero."""
    count = compress.count(net)
    density = {row.name: row for row in compress.weight_density(net, params)}
    zeros = sum(row.weights - row.nonzero for row in density.values())
    macs = sum(
        layer.macs // density[layer.name].weights * density[layer.name].nonzero
        for layer in count.layers
        if layer.name in density
    )
    return TaskFigures(
        task,
        macs,
        count.params - zeros,
        count.macs,
        count.params,
        original.total,
        original.wrong,
        before.wrong,
        after.wrong,
    )


# ------------------------------------------------------------------------------------------ test set


def test_all(
    config: TasksConfig, groups: Sequence[tuple[str, Sequence[Task]]], folder: RunFolder, progress: Progress
) -> None:
    """Measure every unpruned and every stored network on the test sets: the only place that touches them.

    What has been measured is not measured again.

    Parameters
    ----------
    config : TasksConfig
        Which test images.
    groups : sequence of (str, sequence of Task)
        Name and tasks of what was compressed together.
    folder : RunFolder
        The run.
    progress : Progress
        Told of every network.
    """
    records = read_sparse_records(folder)
    if not all(record.tested for record in records):
        names = [task.name for task in groups[0][1]]
        images = {name: tasks.load_test_images(config, t) for t, name in enumerate(names)}
        progress.stage("test set", len(records))
        done = 0
        for group, members in groups:
            own = [images[task.name] for task in members]
            loaded = [nn.load(folder.bases / f"{group}--{task.name}.h5") for task in members]
            nets, params = [net for net, _ in loaded], [some for _, some in loaded]
            originals = tasks.evaluate_each(nets, params, own, config.engine.table)
            for record in (record for record in records if record.group == group):
                if not record.tested:
                    record = _test(record, nets, own, originals, folder, config.engine.table)
                done += 1
                progress.step(
                    done, f"{record.name}: mean test error {record.mean_error('after', 'test'):.2%}"
                )
    steps.remove_checkpoints(folder)


def _test(
    record: SparseRecord,
    nets: Sequence[Network],
    images: Sequence[Dataset],
    originals: Sequence[nn.Evaluation],
    folder: RunFolder,
    backend: str,
) -> SparseRecord:
    place = folder.exports / record.name
    multi = nn.shared_trunk([task.task for task in record.tasks], nets)
    exported = [nn.load(place / f"{task.task}.h5")[1] for task in record.tasks]
    after = tasks.evaluate_each(nets, exported, images, backend)
    stored = tasks.evaluate_each(nets, load_stored(place, multi), images, backend)
    figures = [
        replace(task, test_images=a.total, test_wrong_original=o.wrong, test_wrong_after=a.wrong)
        for task, o, a in zip(record.tasks, originals, after, strict=True)
    ]
    measured = replace(record, tasks=figures, test_stored_wrong=[one.wrong for one in stored])
    write_sparse_record(folder, measured)
    folder.log("tested", network=record.name, wrong=[one.wrong for one in after])
    return measured
