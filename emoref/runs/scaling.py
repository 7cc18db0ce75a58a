"""What a generation costs on more workers: a small model of it, to be filled with measured figures."""

from emoref.errors import ConfigError

__all__ = ["generation_seconds", "workers_worth_having"]


def generation_seconds(
    workers: int, candidates: int, *, candidate_s: float, stem_s: float, task_s: float, alone_s: float
) -> float:
    """Return the time of one generation.

    The population is cut into as many parts as there are workers. Giving them out and taking them back is
    done one after another by one process, which also selects and breeds; in between, the largest part is
    waited for::

        alone_s + parts * task_s + stem_s + ceil(candidates / parts) * candidate_s

    Not published; emoref uses it for docs/scaling.md. It leaves out that cores share memory and caches.

    Parameters
    ----------
    workers : int
        Workers of one thread each, at least 1.
    candidates : int
        Candidates of a generation that have not been seen before, at least 1.
    candidate_s : float
        Time of one candidate on one thread, in seconds.
    stem_s : float
        Time for what the candidates of a part share.
    task_s : float
        Time of giving out a part and taking back its counts.
    alone_s : float
        Time for everything that is not spread.

    Raises
    ------
    ConfigError
        If a number is too small.

    Examples
    --------
    >>> costs = dict(candidate_s=0.1, stem_s=0.2, task_s=0.01, alone_s=0.05)
    >>> [round(generation_seconds(w, 50, **costs), 2) for w in (1, 2, 10, 50, 1000)]
    [5.26, 2.77, 0.85, 0.85, 0.85]
    """
    if min(workers, candidates) < 1 or min(candidate_s, stem_s, task_s, alone_s) < 0:
        raise ConfigError("workers and candidates must be at least 1, and times at least 0")
    parts = min(workers, candidates)
    return alone_s + parts * task_s + stem_s + -(-candidates // parts) * candidate_s


def workers_worth_having(candidates: int, **costs: float) -> int:
    """Return the smallest number of workers with which a generation takes the least time.

    Parameters
    ----------
    candidates, **costs
        As for :func:`generation_seconds`.

    Examples
    --------
    >>> workers_worth_having(50, candidate_s=0.1, stem_s=0.2, task_s=0.01, alone_s=0.05)
    25
    """
    return min(range(1, candidates + 1), key=lambda w: (generation_seconds(w, candidates, **costs), w))
