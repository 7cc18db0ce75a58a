"""The figures of a network that is stored as ``.emz``: one JSON file beside it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emoref.errors import FileFormatError
from emoref.runs.folder import RunFolder, write_text_atomic

__all__ = ["CompressedRecord", "Count", "compressed_names", "read_compressed", "write_compressed"]

_MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class Count:
    """Wrong predictions of one network on one set of images."""

    images: int
    wrong: int

    @property
    def error(self) -> float:
        """Share of wrong predictions, in [0, 1]."""
        return self.wrong / self.images


@dataclass(frozen=True)
class CompressedRecord:
    """One pruned and quantised network of a run, with all that it costs.

    Attributes
    ----------
    name : str
        Name of its files.
    search : str
        The search that it was chosen from.
    choice : str
        Why, in words.
    remaining_ratio : float
        Of the library model.
    bits : mapping of str to int
        Bits of the weights of each layer.
    nonzero, weights : mapping of str to int
        Weights of each layer that are not zero after quantisation, and all.
    energies_pj : mapping of str to float
        Energy of one image under each dataflow.
    sizes_bits : mapping of str to float
        Size of the weights under each coding, as the search's rules have it.
    base_energies_pj, base_size_bits : mapping of str to float, and float
        The same of the uncompressed network.
    coders : mapping of str to str
        What wrote each layer.
    promised_bytes : int
        What the weights take as the size objective has it; 0 where that was an estimate or no objective.
    weight_bytes, other_bytes, header_bytes : int
        Parts of the file: sections of quantised weights, of biases and batch norm, and what comes before.
    searched, validation : Count
        Errors on the search's images and on all validation images.
    breakdown_pj : mapping of str to mapping of str to list of float
        For each dataflow and layer the five components of its energy, in the order of
        :data:`emoref.compress.energy.COMPONENTS`.
    test : Count or None
        Error on the test set; None before it is measured.
    """

    name: str
    search: str
    choice: str
    remaining_ratio: float
    bits: Mapping[str, int]
    nonzero: Mapping[str, int]
    weights: Mapping[str, int]
    energies_pj: Mapping[str, float]
    sizes_bits: Mapping[str, float]
    base_energies_pj: Mapping[str, float]
    base_size_bits: float
    coders: Mapping[str, str]
    promised_bytes: int
    weight_bytes: int
    other_bytes: int
    header_bytes: int
    searched: Count
    validation: Count
    breakdown_pj: Mapping[str, Mapping[str, list[float]]]
    test: Count | None = None

    @property
    def file_bytes(self) -> int:
        """Length of the file."""
        return self.header_bytes + self.weight_bytes + self.other_bytes

    def energy_factor(self, dataflow: str) -> float:
        """Return how many times less energy than the uncompressed network it takes."""
        return self.base_energies_pj[dataflow] / self.energies_pj[dataflow]

    def size_factor(self, coding: str) -> float:
        """Return how many times smaller than the uncompressed weights it is."""
        return self.base_size_bits / self.sizes_bits[coding]


def compressed_names(folder: RunFolder) -> list[str]:
    """Return the names of the stored compressed networks, sorted."""
    return sorted(p.stem for p in folder.models.glob("*.json")) if folder.models.is_dir() else []


def write_compressed(folder: RunFolder, record: CompressedRecord) -> None:
    """Write the figures of a network beside its file, atomically."""
    text = json.dumps(asdict(record), indent=1) + "\n"
    write_text_atomic(folder.models / f"{record.name}.json", text)


def read_compressed(folder: RunFolder, name: str) -> CompressedRecord:
    """Read the figures of a network.

    Raises
    ------
    FileFormatError
        If the file is missing or damaged.
    """
    path = folder.models / f"{name}.json"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for key in ("searched", "validation", "test"):
            table[key] = Count(**table[key]) if table[key] is not None else None
        return CompressedRecord(**table)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{path}: damaged ({error})") from None
