"""Downloads, against a server in the test's own process: what arrives is checked, or is not there."""

import gzip
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
from rich.console import Console

from emoref import data, download
from emoref.data.idx import write_idx
from emoref.download import Archive, Content, get
from emoref.errors import DataError
from emoref.runs.progress import download_bars

STEMS = tuple(download.IDX_FILES["mnist"])


class Server:
    """A server of files; ``behaviour`` says what is wrong with one: truncate, unannounced, endless."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.behaviour: dict[str, str] = {}
        self.asked: list[str] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/data"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler):
        name = handler.path.rsplit("/", 1)[1]
        self.asked.append(name)
        body, behaviour = self.files.get(name), self.behaviour.get(name, "")
        if body is None:
            handler.send_error(404)
            return
        handler.send_response(200)
        if behaviour == "odd length":
            handler.send_header("Content-Length", "many")
        elif behaviour not in ("unannounced", "endless"):
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        try:
            if behaviour == "endless":
                while True:
                    handler.wfile.write(bytes(1 << 16))
            handler.wfile.write(body[: len(body) // 2] if behaviour in ("truncate", "unannounced") else body)
        except OSError:
            pass  # the client has had enough


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and no other place to find data."""
    monkeypatch.setenv("EMOREF_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "emoref" / "data"


@pytest.fixture
def mnist(server, cache, monkeypatch):
    """A server with a small MNIST whose checksums are the published ones."""
    published = {}
    for stem, n in zip(STEMS, (20, 20, 10, 10), strict=True):
        array = np.arange(n, dtype=np.uint8) % 10
        if "images" in stem:
            array = array[:, None, None] * np.ones((n, 28, 28), np.uint8)
        path = cache.parent.parent / f"{stem}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_idx(path, array)
        content = path.read_bytes()
        server.files[f"{stem}.gz"] = gzip.compress(content)
        published[stem] = Content(len(content), hashlib.sha256(content).hexdigest())
        path.unlink()
    monkeypatch.setitem(download.IDX_FILES, "mnist", published)
    monkeypatch.setitem(download.SOURCES, "mnist", (server.url,))
    return server


def visible(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_good_download_is_found_by_the_catalogue(mnist, cache):
    bars = []

    class Bar:
        total, arrived, closed = 0, 0, 0

        def update(self, n):
            self.arrived += n

        def reset(self):
            self.arrived = 0

        def close(self):
            self.closed += 1

    folder = get("mnist", bars=lambda file, origin: bars.append((file, origin, Bar())) or bars[-1][2])
    assert folder == cache / "mnist" == data.locate("mnist")
    assert visible(cache) == sorted(f"{stem}.gz" for stem in STEMS)
    assert data.load("mnist", "test").labels.tolist() == list(range(10))
    assert [file for file, _, _ in bars] == [f"{stem}.gz" for stem in STEMS]
    assert all(origin.startswith(mnist.url) and bar.closed for _, origin, bar in bars)
    assert [bar.arrived for _, _, bar in bars] == [len(mnist.files[f"{stem}.gz"]) for stem in STEMS]

    mnist.asked.clear()
    assert get("mnist") == folder
    assert mnist.asked == [], "what is there and right is not fetched again"


def test_bars_on_a_terminal_and_lines_elsewhere(mnist, cache):
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=120)
        with download_bars(console) as bars:
            get("mnist", bars=bars)
        text = out.getvalue()
        assert ("\x1b[" in text) == terminal
        for stem in STEMS:
            assert (stem if terminal else f"fetching {mnist.url}/{stem}.gz\n") in text
            (cache / "mnist" / f"{stem}.gz").unlink()


def test_another_compression_of_the_same_content_is_right(mnist, cache):
    for name, body in mnist.files.items():
        mnist.files[name] = gzip.compress(gzip.decompress(body), 1)
    assert data.locate("mnist") is None
    assert len(visible(get("mnist"))) == 4


def test_wrong_checksum_names_both_and_keeps_nothing(mnist, cache, refused):
    name = f"{STEMS[0]}.gz"
    content = bytearray(gzip.decompress(mnist.files[name]))
    content[-1] ^= 1
    mnist.files[name] = gzip.compress(content)
    found = hashlib.sha256(content).hexdigest()
    expected = download.IDX_FILES["mnist"][STEMS[0]].sha256
    refused("data", "get", "mnist", says=[name, found, expected, mnist.url, "--from"])
    assert visible(cache) == []


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("truncate", "cut short"),
        ("unannounced", "gzip stream cut short"),
        ("endless", "longer than"),
        ("odd length", "ValueError"),
    ],
)
def test_a_broken_transfer_is_restarted_by_the_next_call(mnist, cache, refused, behaviour, says):
    third = f"{STEMS[2]}.gz"
    mnist.behaviour[third] = behaviour
    refused("data", "get", "mnist", says=[third, says])
    assert visible(cache) == sorted(f"{stem}.gz" for stem in STEMS[:2]), "complete files stay"
    assert data.locate("mnist") is None
    mnist.behaviour.clear()
    mnist.asked.clear()
    get("mnist")
    assert mnist.asked == [f"{stem}.gz" for stem in STEMS[2:]], "and are not fetched again"
    assert len(data.load("mnist")) == 20


def test_a_file_damaged_later_is_fetched_again(mnist, cache):
    get("mnist")
    victim = cache / "mnist" / f"{STEMS[1]}.gz"
    good = victim.read_bytes()
    victim.write_bytes(good[:-3])
    get("mnist")
    assert victim.read_bytes() == good


def test_missing_file_and_unreachable_server(mnist, cache, refused):
    del mnist.files[f"{STEMS[0]}.gz"]
    refused("data", "get", "mnist", says=["404 Not Found"])
    mnist.http.shutdown()
    mnist.http.server_close()
    refused("data", "get", "mnist", says=["no connection (Connection refused)", mnist.url, "EMOREF_DATA"])
    assert visible(cache) == []


def test_the_second_source_is_tried(mnist, cache, monkeypatch):
    monkeypatch.setitem(download.SOURCES, "mnist", ("http://127.0.0.1:9", mnist.url))
    assert len(visible(get("mnist"))) == 4


def test_no_name_of_a_package_registry_among_the_sources():
    assert set(download.SOURCES) == {*download.IDX_FILES, *download.ARCHIVES}
    for address in (url for urls in download.SOURCES.values() for url in urls):
        assert not any(word in address for word in ("pypi", "conda", "npm", "huggingface"))


def test_from_a_folder_in_any_spelling(mnist, cache, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for stem in STEMS:
        plain = gzip.decompress(mnist.files[f"{stem}.gz"])
        (mirror / stem.replace("-idx", ".idx")).write_bytes(plain)
    get("mnist", str(mirror))
    assert mnist.asked == []
    assert len(data.load("mnist")) == 20
    os.unlink(cache / "mnist" / f"{STEMS[0]}.gz")
    os.unlink(mirror / STEMS[0].replace("-idx", ".idx"))
    with pytest.raises(DataError, match="no such file"):
        get("mnist", str(mirror))


@pytest.mark.parametrize("source", ["absent", "ftp://127.0.0.1/x", "file:///etc"])
def test_sources_that_are_none(mnist, refused, source):
    refused("data", "get", "mnist", "--from", source, says=["not a folder", "http"])


def test_what_is_already_here_is_not_fetched(mnist, cache, tmp_path, monkeypatch, cli):
    get("mnist")
    (tmp_path / "mine").mkdir()
    (cache / "mnist").rename(tmp_path / "mine" / "mnist")
    monkeypatch.setenv("EMOREF_DATA", str(tmp_path / "mine"))
    mnist.asked.clear()
    assert get("mnist") == tmp_path / "mine" / "mnist"
    assert mnist.asked == []
    assert "bundled" in cli("data", "get", "fashion-mnist-small").out
    assert cli("data", "get", "mnits").code == 2


def test_a_killed_download_leaves_nothing_in_the_way(mnist, cache):
    """SIGKILL in the middle of a file; the next call starts it again."""
    mnist.behaviour[f"{STEMS[1]}.gz"] = "endless"
    content = {stem: (c.size_bytes, c.sha256) for stem, c in download.IDX_FILES["mnist"].items()}
    code = (
        "import os, signal\nfrom emoref import download\n"
        f"content = {content!r}\n"
        "download.IDX_FILES['mnist'] = {s: download.Content(*c) for s, c in content.items()}\n"
        "write = download._Bounded.write\n"
        "def dying(self, data):\n"
        "    if 'train-labels' in self._file.name: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(self, data)\n"
        "download._Bounded.write = dying\n"
        f"download.get('mnist', {mnist.url!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode < 0
    assert visible(cache / "mnist") == [f"{STEMS[0]}.gz"]
    mnist.behaviour.clear()
    get("mnist")
    assert visible(cache) == sorted(f"{stem}.gz" for stem in STEMS)


def test_two_at_a_time(mnist, cache):
    fcntl = pytest.importorskip("fcntl")
    cache.mkdir(parents=True)
    with open(cache / ".mnist.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is fetching mnist"):
            get("mnist")


def test_disk_full(mnist, cache, monkeypatch, refused):
    real = open

    def small_disk(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        return _Full(file) if ".part" in str(path) and "w" in mode else file

    monkeypatch.setattr(download, "open", small_disk, raising=False)
    refused("data", "get", "mnist", says=["cannot be written", "No space left on device"])
    assert visible(cache) == []


class _Full:
    """A file on a disk without space."""

    def __init__(self, file):
        self._file, self.name = file, file.name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, data):
        raise OSError(28, "No space left on device")


def test_the_cache_is_a_file(mnist, cache, refused):
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("in the way")
    refused("data", "get", "mnist", says=[str(cache), "cannot be written"])


# Archives


FOLDER = "cifar-10-batches-bin"
RECORD = bytes([3]) + bytes(3072)


def tar_of(*members):
    """Pack (name or TarInfo, content) pairs."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


GOOD = [
    (f"{FOLDER}/readme.html", b"hello"),
    *((f"{FOLDER}/data_batch_{i}.bin", RECORD * 2) for i in range(1, 6)),
    (f"{FOLDER}/test_batch.bin", RECORD * 2),
]


@pytest.fixture
def serve_cifar(server, cache, monkeypatch):
    """Return a function that serves an archive which has the published checksum."""

    def serve(body):
        members = dict.fromkeys(download.ARCHIVES["cifar10"].members, 2 * len(RECORD))
        archive = Archive("cifar-10-binary.tar.gz", len(body), hashlib.md5(body).hexdigest(), members)
        monkeypatch.setitem(download.ARCHIVES, "cifar10", archive)
        monkeypatch.setitem(download.SOURCES, "cifar10", (server.url,))
        server.files[archive.file] = body

    return serve


def test_archive_gives_its_files_and_no_others(serve_cifar, server, cache):
    serve_cifar(tar_of(*GOOD))
    assert get("cifar10") == cache / FOLDER
    assert visible(cache) == sorted([*download.ARCHIVES["cifar10"].members, "SHA256SUMS"])
    assert data.load("cifar10").labels.tolist() == [3] * 10
    server.asked.clear()
    get("cifar10")
    assert server.asked == []
    (cache / FOLDER / "test_batch.bin").write_bytes(bytes(2 * len(RECORD)))
    get("cifar10")
    assert server.asked == ["cifar-10-binary.tar.gz"], "a file changed later is noticed"
    assert (cache / FOLDER / "test_batch.bin").read_bytes() == RECORD * 2


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([*GOOD, ("../../outside.txt", b"x")], "leads out of the folder"),
        ([("/tmp/emoref-outside.txt", b"x"), *GOOD], "leads out of the folder"),
        ([(f"{FOLDER}/../../outside.txt", b"x"), *GOOD], "leads out of the folder"),
        ([special(f"{FOLDER}/test_batch.bin", tarfile.SYMTYPE, "/etc/passwd"), *GOOD], "is a link"),
        ([special(f"{FOLDER}/x", tarfile.LNKTYPE, "../y"), *GOOD], "is a link"),
        ([special(f"{FOLDER}/x", tarfile.CHRTYPE), *GOOD], "is a link or a device"),
        (GOOD[:-1], f"lacks {FOLDER}/test_batch.bin"),
        ([*GOOD[:-1], (f"{FOLDER}/test_batch.bin", RECORD)], "expected 6,146 bytes"),
        ([*GOOD, GOOD[-1]], "twice"),
        ([(f"{FOLDER}/huge", bytes(1 << 20)), *GOOD], "far more than"),
    ],
)
def test_hostile_archives(serve_cifar, cache, refused, members, says):
    serve_cifar(tar_of(*members))
    refused("data", "get", "cifar10", says=[says])
    assert visible(cache) == []
    assert not (cache.parent / "outside.txt").exists()
    assert not os.path.exists("/tmp/emoref-outside.txt")


def test_archives_that_are_none(serve_cifar, cache, refused):
    whole = tar_of(*GOOD)
    broken = (whole[: len(whole) // 2], b"not an archive", gzip.compress(b"not a tar" * 200), b"")
    for body in broken:
        serve_cifar(body)
        refused("data", "get", "cifar10", says=["cifar-10-binary.tar.gz: "])
        assert visible(cache) == []


def test_archive_with_another_checksum(serve_cifar, server, cache, refused):
    serve_cifar(tar_of(*GOOD))
    expected = download.ARCHIVES["cifar10"].md5
    body = tar_of(*GOOD[1:])
    server.files["cifar-10-binary.tar.gz"] = body
    refused("data", "get", "cifar10", says=[expected, hashlib.md5(body).hexdigest()])
    assert visible(cache) == []


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_constants_are_those_of_the_published_files(name, need_data, cache, monkeypatch):
    monkeypatch.undo()
    need_data(name)
    folder = data.locate(name)
    for stem, content in download.IDX_FILES[name].items():
        assert not download._wrong_content(download._local(folder, (f"{stem}.gz", stem)), content)
