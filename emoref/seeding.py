"""One way to make random numbers: a generator for (seed, purpose, indices).

No part of emoref keeps a global or long-lived random state. Whoever needs random numbers asks for the
generator of what it is doing, for instance ``generator(seed, "emo.mating", generation)``. Results therefore
do not depend on how many threads or workers run, nor on whether a run was interrupted and resumed.
"""

import zlib
from typing import Any

import numpy as np

from emoref.errors import ConfigError


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """Return the random generator that belongs to a purpose.

    Parameters
    ----------
    seed : int
        The run's seed, at least 0.
    purpose : str
        What the numbers are for, e.g. ``"nn.shuffle"``. Different purposes are independent.
    *indices : int
        Further non-negative integers, e.g. generation and individual.

    Returns
    -------
    numpy.random.Generator
        PCG64, seeded by ``SeedSequence([seed, crc32(purpose), *indices])``.

    Raises
    ------
    ConfigError
        If the seed or an index is negative.
    """
    if seed < 0 or min(indices, default=0) < 0:
        raise ConfigError(f"seed and indices must be non-negative integers, got {(seed, *indices)}")
    entropy: Any = [int(seed), zlib.crc32(purpose.encode()), *map(int, indices)]
    if max(entropy) < 1 << 32:
        # The words that SeedSequence would make of the list, in half the time.
        entropy = np.array(entropy, dtype=np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def child_seed(seed: int, purpose: str, *indices: int) -> int:
    """Return a seed in [0, 2**31) that belongs to a purpose, for functions that take a seed themselves.

    Parameters and errors are those of :func:`generator`.
    """
    return int(generator(seed, purpose, *indices).integers(2**31))
