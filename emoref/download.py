"""Downloads of the catalogue's data sets into the cache that :mod:`emoref.data` searches.

Nothing is believed before it is checked: what arrives is written into a hidden folder beside its place, its
length is bounded, its checksum compared with the constants below, and only then does it take its name. A
download that is interrupted therefore leaves complete files or none; started again, it keeps those that
are there and fetches the rest.

Where the checksums come from. IDX files: sha256 of the *uncompressed* content, because a mirror may have
compressed the same content anew; computed from complete copies, and equal to the values that other projects
publish. CIFAR archives: the md5 that the data sets' own page states beside each archive.
"""

import contextlib
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import pooch

from emoref.data.catalog import cache_folder, folder_name, locate
from emoref.data.cifar import CIFAR10_FILES, CIFAR100_FILES
from emoref.data.files import ByteReader, file_size
from emoref.errors import DataError

try:
    import fcntl
except ImportError:  # not on Windows, where two downloads at a time are not detected
    fcntl = None  # type: ignore[assignment]

__all__ = ["ARCHIVES", "IDX_FILES", "SOURCES", "Archive", "Bar", "Content", "get"]

TIMEOUT_S = 30
CHUNK_BYTES = 1 << 16
_SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Content:
    """What an IDX file holds when uncompressed: its length in bytes and the sha256 of all of it."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A tar.gz archive: name, length and md5 as published, and the files taken out with their lengths."""

    file: str
    size_bytes: int
    md5: str
    members: dict[str, int]


SOURCES = {  # addresses of folders, tried in this order
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    "fashion-mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
    "cifar10": ("https://www.cs.toronto.edu/~kriz",),
    "cifar100": ("https://www.cs.toronto.edu/~kriz",),
}

IDX_FILES = {
    "mnist": {
        "train-images-idx3-ubyte": Content(
            47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": Content(
            60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": Content(
            7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": Content(
            10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": Content(
            47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": Content(
            60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": Content(
            7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": Content(
            10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
}

# Records of 1 + 3,072 bytes (CIFAR-10) and 2 + 3,072 bytes (CIFAR-100).
ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c32a1d4ab5d03f1284b67883e8d87530",
        dict.fromkeys((*CIFAR10_FILES["train"], *CIFAR10_FILES["test"]), 10_000 * 3073),
    ),
    "cifar100": Archive(
        "cifar-100-binary.tar.gz",
        168_513_733,
        "03b5dce01913d631647c71ecec9e9cb8",
        {CIFAR100_FILES["train"][0]: 50_000 * 3074, CIFAR100_FILES["test"][0]: 10_000 * 3074},
    ),
}


class Bar(Protocol):
    """A progress bar as pooch drives it: ``total`` is set, then ``update`` called often, then ``close``."""

    total: int

    def update(self, n_bytes: int, /) -> None:
        """Count `n_bytes` that arrived."""

    def reset(self) -> None:
        """Count from 0 again."""

    def close(self) -> None:
        """Finish."""


Bars = Callable[[str, str], Bar | None]


def get(name: str, source: str | None = None, bars: Bars | None = None) -> Path:
    """Fetch a data set into the user's cache, unless it is already on this machine.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist", "cifar10", "cifar100"}
        What to fetch. The embedded set is there already.
    source : str, optional
        Another place that has the official files: the address of a folder (http or https), or a folder on
        this machine. By default the addresses in :data:`SOURCES` are tried in turn.
    bars : callable, optional
        Called with the name and the origin of each file that is fetched; returns a bar for it, or None.

    Returns
    -------
    Path
        The folder where :func:`emoref.data.load` finds it: one in ``EMOREF_DATA`` if it is complete there
        (nothing is fetched), otherwise the cache.

    Raises
    ------
    DataError
        If the name is unknown, no source gives a file with the right checksum, an archive holds what it
        should not, the disk is full, or another process is fetching the same.
    """
    found = locate(name)
    root = cache_folder()
    place = root / folder_name(name)
    if found is not None and found != place:
        return found
    origins = [_origin(source)] if source is not None else list(SOURCES[name])
    try:
        with _alone(root, name) as staging:
            if name in IDX_FILES:
                _get_idx(name, origins, place, staging, bars)
            else:
                _get_archive(name, origins, place, staging, bars)
    except OSError as error:
        raise DataError(f"{place}: cannot be written ({error.strerror or error})") from None
    return place


def _origin(source: str) -> str:
    scheme = urlsplit(source).scheme.lower() if "://" in source else ""
    if scheme in ("http", "https"):
        return source
    folder = Path(source).expanduser()
    if scheme or not folder.is_dir():
        raise DataError(f"{source}: not a folder, and no address that begins with http:// or https://")
    return str(folder)


@contextlib.contextmanager
def _alone(root: Path, name: str) -> Iterator[Path]:
    """Give an empty folder of one's own for what is not yet complete, while nobody else fetches ``name``."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / f".{name}.lock", "w") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataError(f"{root}: another process is fetching {name}; wait for it") from None
        staging = root / f".{name}.part"
        shutil.rmtree(staging, ignore_errors=True)  # of a download that was killed
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _get_idx(name: str, origins: list[str], place: Path, staging: Path, bars: Bars | None) -> None:
    for stem, content in IDX_FILES[name].items():
        target = place / f"{stem}.gz"
        if target.exists() and not _wrong_content(target, content):
            continue
        arrived = staging / target.name
        names = (f"{stem}.gz", stem, f"{stem.replace('-idx', '.idx')}.gz", stem.replace("-idx", ".idx"))

        def check(path: Path, content: Content = content) -> str:
            return _wrong_content(path, content)

        # Deflate stores what it cannot shrink with an overhead far below 1 percent.
        limit = content.size_bytes + content.size_bytes // 100 + 1024
        _fetch(f"{name}: {target.name}", origins, names, arrived, limit, check, bars)
        place.mkdir(exist_ok=True)
        os.replace(arrived, target)


def _wrong_content(path: Path, content: Content) -> str:
    """Say how the uncompressed content of a file differs from what was published, if it does."""
    digest, size = hashlib.sha256(), 0
    try:
        with ByteReader(path) as reader:
            while size <= content.size_bytes and (data := reader.read(1 << 20)):
                digest.update(data)
                size += len(data)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    if size != content.size_bytes:
        more = "more than " if size > content.size_bytes else ""
        return f"holds {more}{min(size, content.size_bytes):,} bytes, expected {content.size_bytes:,}"
    if digest.hexdigest() != content.sha256:
        return f"sha256 of its content is {digest.hexdigest()}, expected {content.sha256}"
    return ""


def _get_archive(name: str, origins: list[str], place: Path, staging: Path, bars: Bars | None) -> None:
    archive = ARCHIVES[name]
    if _sums_agree(place, archive):
        return
    arrived = staging / archive.file

    def check(path: Path) -> str:
        found = pooch.file_hash(str(path), alg="md5")
        size = path.stat().st_size
        wrong = f"md5 is {found}, expected {archive.md5} ({size:,} bytes, expected {archive.size_bytes:,})"
        return wrong if found != archive.md5 else ""

    limit = archive.size_bytes
    _fetch(f"{name}: {archive.file}", origins, (archive.file,), arrived, limit, check, bars)
    _extract(arrived, place.name, archive, staging)
    place.mkdir(exist_ok=True)
    (place / _SUMS).unlink(missing_ok=True)
    for member in archive.members:
        os.replace(staging / member, place / member)
    os.replace(staging / _SUMS, place / _SUMS)


def _sums_agree(place: Path, archive: Archive) -> bool:
    """Tell whether an earlier download is there and whole: the sums are written last."""
    try:
        lines = (place / _SUMS).read_text("ascii").splitlines()
        sums = {file: digest for digest, _, file in (line.partition("  ") for line in lines)}
        return all(
            file_size(place / member) == size
            and pooch.file_hash(str(place / member), alg="sha256") == sums[member]
            for member, size in archive.members.items()
        )
    except (OSError, ValueError, KeyError, DataError):
        return False


def _extract(path: Path, folder: str, archive: Archive, staging: Path) -> None:
    """Take the expected members out of an archive into ``staging``, and nothing else anywhere."""
    sums: dict[str, str] = {}
    budget = 2 * sum(archive.members.values())
    try:
        with tarfile.open(path, "r|gz") as tar:
            for member in tar:
                budget -= member.size
                _check_member(path.name, member, budget)
                place = PurePosixPath(member.name)
                if not member.isfile() or str(place.parent) != folder or place.name not in archive.members:
                    continue
                if member.size != archive.members[place.name] or place.name in sums:
                    raise DataError(
                        f"{path.name}: {member.name} has {member.size:,} bytes or is there twice; expected "
                        f"{archive.members[place.name]:,} bytes, once"
                    )
                stream = tar.extractfile(member)
                assert stream is not None
                sums[place.name] = _copy(stream, staging / place.name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: damaged archive ({error})") from None
    missing = [member for member in archive.members if member not in sums]
    if missing:
        raise DataError(f"{path.name}: lacks {folder}/{missing[0]}")
    lines = [f"{digest}  {member}\n" for member, digest in sums.items()]
    (staging / _SUMS).write_text("".join(lines), "ascii")


def _check_member(archive: str, member: tarfile.TarInfo, budget: int) -> None:
    place = PurePosixPath(member.name)
    if place.is_absolute() or ".." in place.parts:
        raise DataError(f"{archive}: member {member.name!r} leads out of the folder; nothing was unpacked")
    if not (member.isfile() or member.isdir()):
        raise DataError(
            f"{archive}: member {member.name!r} is a link or a device; expected files and folders only"
        )
    if budget < 0:
        raise DataError(f"{archive}: holds far more than the files expected; nothing was unpacked")


def _copy(source: IO[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    with open(target, "wb") as file:
        while data := source.read(1 << 20):
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _fetch(
    what: str,
    origins: list[str],
    names: tuple[str, ...],
    target: Path,
    limit: int,
    check: Callable[[Path], str],
    bars: Bars | None,
) -> None:
    """Fetch one file from the first origin that has it and passes the check.

    The first of ``names`` is asked for at an address; all of them are looked for in a folder.
    """
    problems = []
    for origin in origins:
        remote = "://" in origin
        place = f"{origin.rstrip('/')}/{names[0]}" if remote else str(_local(Path(origin), names))
        bar = bars(names[0], place) if bars else None
        try:
            with open(target, "wb") as file:
                bounded = _Bounded(file, limit)
                (_download if remote else _read_in)(place, bounded, bar)
                file.flush()
                os.fsync(file.fileno())
            problem = check(target)
        except _NotFetched as error:
            problem = str(error)
        finally:
            if bar is not None:
                bar.close()
        if not problem:
            return
        target.unlink(missing_ok=True)
        problems.append(f"{place}: {problem}")
    raise DataError(
        f"{what} was not fetched, nothing was kept: {'; '.join(problems)}\n"
        "give another source with --from, or fetch it yourself and name its folder in EMOREF_DATA"
    )


def _local(folder: Path, names: tuple[str, ...]) -> Path:
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])


class _NotFetched(Exception):
    """Why one source did not give a file."""


class _Bounded:
    """A file that takes no more than ``limit`` bytes."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._limit, self._left = file, limit, limit

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise _NotFetched(f"is longer than the {self._limit:,} bytes that it can have")
        try:
            self._file.write(data)
        except OSError as error:  # not to be mistaken for an error of the network
            raise DataError(f"{self._file.name}: cannot be written ({error.strerror})") from None

    def flush(self) -> None:
        self._file.flush()


def _read_in(path: str, file: _Bounded, bar: Bar | None) -> None:
    try:
        size = file_size(Path(path))
        if bar is not None:
            bar.total = size
        with open(path, "rb") as source:
            while data := source.read(CHUNK_BYTES):
                file.write(data)
                if bar is not None:
                    bar.update(len(data))
    except DataError as error:
        if not str(error).startswith(f"{path}: "):
            raise
        raise _NotFetched(str(error).removeprefix(f"{path}: ")) from None
    except OSError as error:
        raise _NotFetched(f"cannot be read ({error.strerror or error})") from None


def _download(url: str, file: _Bounded, bar: Bar | None) -> None:
    import requests

    # A server that marks .gz files as compressed in transit would have them unpacked on the way.
    fetch: Any = pooch.HTTPDownloader(
        progressbar=bar or False,
        chunk_size=CHUNK_BYTES,
        timeout=TIMEOUT_S,
        headers={"Accept-Encoding": "identity"},
    )
    try:
        fetch(url, file, None)
    except requests.HTTPError as error:
        answer = error.response
        status = f"{answer.status_code} {answer.reason}" if answer is not None else "with an error"
        raise _NotFetched(f"the server answered {status}") from None
    except requests.Timeout:
        raise _NotFetched(f"no answer within {TIMEOUT_S} seconds") from None
    except (requests.RequestException, ValueError) as error:
        raise _NotFetched(_root_cause(error)) from None


def _root_cause(error: BaseException) -> str:
    """Find the system's words for a failed connection inside the layers of the network libraries."""
    pending: list[Any] = [error]
    seen: list[BaseException] = []
    while pending:
        current = pending.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        seen.append(current)
        if type(current).__name__ == "IncompleteRead":
            return f"cut short, {current.args[0]:,} bytes arrived and {current.args[1]:,} were missing"
        if isinstance(current, OSError) and current.errno is not None and current.strerror:
            return f"no connection ({current.strerror})"
        nested = [getattr(current, "reason", None), current.__cause__, current.__context__, *current.args]
        pending.extend(nested)
    return f"no connection ({type(error).__name__})"
