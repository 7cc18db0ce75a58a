"""Habits of the code, checked on its syntax trees. Each rule is tested on snippets that break it."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
JIT = "kernels/emoref_kernels/cpu/jit.py"
COMMAND_LINE = "emoref/cli.py"
TWINS = ("kernels/emoref_kernels/cpu/", "kernels/emoref_kernels/cuda/")

Function = ast.FunctionDef | ast.AsyncFunctionDef
# The owner of a method is its class.
Owned = tuple[Function, ast.ClassDef | None]


@dataclass(frozen=True)
class Module:
    """A module by its path from the root of the repository."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def exported(self) -> set[str]:
        """Names in the module's ``__all__``."""
        names: set[str] = set()
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names |= set(ast.literal_eval(node.value)) if node.targets[0].id == "__all__" else set()
        return names

    def functions(self) -> Iterator[Owned]:
        """Yield public functions, and public methods of public classes."""
        for node in self.tree.body:
            if isinstance(node, Function) and _public(node):
                yield node, None
            elif isinstance(node, ast.ClassDef) and _public(node):
                yield from ((m, node) for m in node.body if isinstance(m, Function) and _public(m))


def _public(node: Function | ast.ClassDef) -> bool:
    return not node.name.startswith("_")


Modules = list[Module]
Classes = dict[str, ast.ClassDef]
Rule = Callable[[Modules], list[str]]


def read_modules() -> Modules:
    paths = [path for folder in ("emoref", "kernels") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths]


def _calls(module: Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def _imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each import with the full names that it takes."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def _at(module: Module, node: ast.AST, text: str) -> str:
    return f"{module.path}:{getattr(node, 'lineno', 1)}: {text}"


# ------------------------------------------------------------------------------------------ docstrings


def _bases(name: str, classes: Classes) -> Iterator[ast.ClassDef]:
    """Yield a class of the project and the classes that it derives from."""
    if name in classes:
        yield classes[name]
        for base in classes[name].bases:
            yield from _bases(ast.unparse(base).split("[")[0].split(".")[-1], classes)


def _docstrings(function: Function, owner: ast.ClassDef | None, classes: Classes) -> list[str]:
    """Return the texts in which a function may be documented: for a method, those of its classes too."""
    texts = [ast.get_docstring(function) or ""]
    for base in _bases(owner.name, classes) if owner else ():
        texts += [ast.get_docstring(m) or "" for m in base.body if getattr(m, "name", "") == function.name]
    return [text for text in texts if text]


def _classes(modules: Modules) -> Classes:
    return {node.name: node for m in modules for node in ast.walk(m.tree) if isinstance(node, ast.ClassDef)}


def everything_public_is_documented(modules: Modules) -> list[str]:
    """A docstring for every public module, class, function, method; overrides may leave it to their base."""
    found, classes = [], _classes(modules)
    for module in modules:
        tops = (node for node in module.tree.body if isinstance(node, ast.ClassDef) and _public(node))
        for node in (module.tree, *tops):
            if not ast.get_docstring(node):
                found.append(_at(module, node, f"{getattr(node, 'name', 'the module')} has no docstring"))
        for function, owner in module.functions():
            if not _docstrings(function, owner, classes):
                found.append(_at(module, function, f"{function.name} has no docstring"))
    return found


def _offered(module: Module, modules: Modules) -> Callable[[str], bool]:
    """Return whether a name of a module is offered to users: by a package above it, or by emoref itself."""
    folder = module.path.rpartition("/")[0]
    if folder == "emoref":
        return lambda name: module.path != COMMAND_LINE and (not module.exported or name in module.exported)
    names: set[str] = set()
    for package in modules:
        package_folder, _, file = package.path.rpartition("/")
        # The root package offers sub-packages, whose names are no functions.
        if (
            file == "__init__.py"
            and package_folder != "emoref"
            and f"{folder}/".startswith(f"{package_folder}/")
        ):
            names |= package.exported
    return lambda name: name in names


def every_argument_is_named(modules: Modules) -> list[str]:
    """Arguments of everything offered to users occur in its docstring.

    They may also occur in the docstring of its class, or of a function that it refers to. Functions of
    ``emoref_kernels/cpu`` and ``cuda`` are documented at their twins of the same name in the reference.
    """
    found, classes = [], _classes(modules)
    documented = {m.path: {f.name: ast.get_docstring(f) or "" for f, _ in m.functions()} for m in modules}
    by_name = {name: text for texts in documented.values() for name, text in texts.items()}
    for module in modules:
        local = documented[module.path]
        offered = _offered(module, modules)
        if module.path.startswith(TWINS):
            continue
        for function, owner in module.functions():
            if not offered(owner.name if owner else function.name):
                continue
            texts = _docstrings(function, owner, classes)
            references = re.findall(r":(?:func|meth):`[~\w.]*?(\w+)`", " ".join(texts))
            texts += [local.get(name, by_name.get(name, "")) for name in references]
            texts += [ast.get_docstring(c) or "" for c in (_bases(owner.name, classes) if owner else ())]
            missing = [name for name in _argument_names(function) if not _occurs(name, texts)]
            if missing:
                names = ", ".join(missing)
                found.append(_at(module, function, f"{function.name} does not say what is {names}"))
    return found


def _argument_names(function: Function) -> list[str]:
    a = function.args
    arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return [x.arg for x in arguments if x.arg not in ("self", "cls") and not x.arg.startswith("_")]


def _occurs(name: str, texts: Iterable[str]) -> bool:
    return any(re.search(rf"(?<!\w){name}(?!\w)", text) for text in texts)


# -------------------------------------------------------------------------------------------- compiling


def fast_math_is_an_allowed_set(modules: Modules) -> list[str]:
    """Outside the decorator's module, ``fastmath=`` is a set of names from ``ALLOWED_FASTMATH``."""
    allowed = {"contract", "reassoc", "nsz", "arcp"}
    found = []
    for module in modules:
        for keyword in (k for call in _calls(module) for k in call.keywords if k.arg == "fastmath"):
            flags = keyword.value.elts if isinstance(keyword.value, ast.Set) else []
            names = {flag.value for flag in flags if isinstance(flag, ast.Constant)}
            if module.path != JIT and (len(names) != len(flags) or not names or not names <= allowed):
                found.append(_at(module, keyword.value, f"fastmath={ast.unparse(keyword.value)}"))
    return found


def one_decorator_compiles(modules: Modules) -> list[str]:
    """Numba's own decorators are used in ``cpu/jit.py`` alone."""
    decorators = {
        "jit",
        "njit",
        "vectorize",
        "guvectorize",
        "generated_jit",
        "cfunc",
        "stencil",
        "jit_module",
    }
    found = []
    for module in modules:
        if module.path == JIT:
            continue
        names = [(node, name) for node, name in _imports(module) if name.split(".")[0] == "numba"]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("numba."):
                names.append((node, ast.unparse(node)))  # type: ignore[arg-type]
        found += [_at(module, node, name) for node, name in names if name.split(".")[-1] in decorators]
    return found


# ---------------------------------------------------------------------------------- printing and errors


def only_the_command_line_prints(modules: Modules) -> list[str]:
    """No call of print() outside ``cli.py``."""
    return [
        _at(module, call, "print()")
        for module in modules
        if module.path != COMMAND_LINE
        for call in _calls(module)
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]


def no_error_is_swallowed(modules: Modules) -> list[str]:
    """No bare except, and no ``except Exception`` or ``suppress(Exception)`` that does nothing."""
    found = []
    wide = {"Exception", "BaseException"}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler):
                caught = {ast.unparse(n) for n in ast.walk(node.type)} if node.type else set()
                idle = all(isinstance(s, ast.Pass | ast.Continue) or _is_ellipsis(s) for s in node.body)
                if node.type is None or (idle and caught & wide):
                    found.append(_at(module, node, "an error is swallowed"))
        for call in _calls(module):
            arguments = {ast.unparse(argument) for argument in call.args}
            if ast.unparse(call.func).split(".")[-1] == "suppress" and arguments & wide:
                found.append(_at(module, call, "an error is swallowed"))
    return found


def _is_ellipsis(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and ast.unparse(statement) == "..."


# ------------------------------------------------------------------------------------ files, randomness


def nothing_is_pickled(modules: Modules) -> list[str]:
    """No import of pickle and its kin, and no ``allow_pickle=True``."""
    kin = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    found = []
    for module in modules:
        found += [_at(module, node, name) for node, name in _imports(module) if name.split(".")[0] in kin]
        for keyword in (k for call in _calls(module) for k in call.keywords if k.arg == "allow_pickle"):
            if ast.unparse(keyword.value) != "False":
                found.append(_at(module, keyword.value, "allow_pickle"))
    return found


def no_global_randomness(modules: Modules) -> list[str]:
    """Of numpy.random only generators that are seeded, and nothing of the module random."""
    classes = {"BitGenerator", "Generator", "PCG64", "SeedSequence"}
    found = []
    for module in modules:
        found += [
            _at(module, node, name)
            for node, name in _imports(module)
            if name == "random" or name.startswith(("random.", "numpy.random."))
        ]
        seeded = {id(call.func) for call in _calls(module) if call.args or call.keywords}
        for node in ast.walk(module.tree):
            match = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", ast.unparse(node)) if _dotted(node) else None
            if match and match[1] not in classes and not (match[1] == "default_rng" and id(node) in seeded):
                found.append(_at(module, node, match[0]))
    return found


def _dotted(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)


RULES: dict[Rule, list[str]] = {
    everything_public_is_documented: [
        "x = 1",
        '"""Module."""\ndef f(): ...',
        '"""Module."""\nclass C: ...',
        '"""Module."""\nclass C:\n    """Class."""\n    def f(self): ...',
        '"""Module."""\nclass B: "Base."\nclass C(B):\n    """Class."""\n    def f(self): ...',
    ],
    every_argument_is_named: [
        'def f(width):\n    """Return twice the widths."""',
        'def f(*, width):\n    """Do."""',
        'def f(*widths):\n    """Do."""',
        'class C:\n    """Class."""\n    def f(self, width):\n        """Do."""',
    ],
    fast_math_is_an_allowed_set: [
        "@jit(fastmath=True)\ndef f(): ...",
        'jit(fastmath={"fast"})',
        'jit(fastmath={"reassoc", "nnan"})',
        "jit(fastmath=FLAGS)",
    ],
    one_decorator_compiles: [
        "from numba import njit",
        "from numba import prange, guvectorize as g",
        "import numba\n@numba.jit\ndef f(): ...",
        "import numba\nf = numba.vectorize(f)",
    ],
    only_the_command_line_prints: ["print(1)", "def f():\n    print()"],
    no_error_is_swallowed: [
        "try: f()\nexcept: g()",
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept (OSError, BaseException) as error: ...",
        "for x in y:\n    try: f()\n    except Exception: continue",
        "with contextlib.suppress(Exception): f()",
    ],
    nothing_is_pickled: [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "np.load(path, allow_pickle=True)",
    ],
    no_global_randomness: [
        "np.random.seed(0)",
        "import random",
        "from random import choice",
        "from numpy.random import rand",
        "x = numpy.random.rand(3)",
        "rng = np.random.default_rng()",
    ],
}

GOOD = '''"""Module."""
import numba
import numpy as np
from numba import prange
from emoref_kernels.cpu.jit import jit

class Base:
    """Base, for a width."""
    def area(self, width):
        """Return the area."""
    def _hidden(self, anything): ...

class Derived(Base):
    """Derived."""
    def area(self, width): ...

@jit(parallel=True, fastmath={"reassoc", "contract"})
def f(width, *args, seed=0, _private=None):
    """Return what `width`, `args` and `seed` give."""
    rng = np.random.Generator(np.random.PCG64(seed))
    other = np.random.default_rng(seed)
    try:
        console.print(numba.get_num_threads())
    except OSError:
        pass
    except Exception as error:
        raise RuntimeError from error
    with contextlib.suppress(OSError):
        np.load(path, allow_pickle=False)
'''

by_name = {"ids": lambda value: getattr(value, "__name__", None)}


@pytest.fixture(scope="module")
def modules() -> Modules:
    return read_modules()


@pytest.mark.parametrize("rule", RULES, **by_name)
def test_the_code_keeps_the_rule(rule: Rule, modules: Modules) -> None:
    assert len(modules) > 50
    broken = rule(modules)
    assert not broken, "\n".join([rule.__doc__ or "", *broken])


@pytest.mark.parametrize(("rule", "bad"), [(r, bad) for r, bads in RULES.items() for bad in bads], **by_name)
def test_the_rule_finds_what_breaks_it(rule: Rule, bad: str) -> None:
    found = rule([Module("emoref/example.py", bad)])
    assert found
    assert all(re.match(r"emoref/example\.py:\d+: \S", text) for text in found)


@pytest.mark.parametrize("rule", RULES, **by_name)
def test_the_rule_lets_good_code_pass(rule: Rule) -> None:
    assert rule([Module("emoref/example.py", GOOD)]) == []


def test_only_what_a_package_offers_must_name_its_arguments() -> None:
    inner = Module("emoref/nn/inner.py", 'def f(x):\n    """Do."""\ndef g(x):\n    """Do."""')
    package = Module("emoref/nn/__init__.py", '__all__ = ["f"]')
    other = Module("emoref/emo/__init__.py", '__all__ = ["g"]')
    found = every_argument_is_named([inner, package, other])
    assert found == ["emoref/nn/inner.py:1: f does not say what is x"]


def test_what_is_allowed_in_one_place_is_not_elsewhere() -> None:
    for rule, place, source in (
        (only_the_command_line_prints, COMMAND_LINE, "print(1)"),
        (one_decorator_compiles, JIT, "numba.njit(f)"),
        (fast_math_is_an_allowed_set, JIT, "njit(fastmath=flags)"),
    ):
        assert rule([Module(place, source)]) == []
        assert rule([Module("emoref/elsewhere.py", source)])


# ------------------------------------------------------------------------------------------------ texts

# Written in pieces, so that this file does not hold what it looks for.
FORBIDDEN = {
    "the name of a package registry": r"\b(py" r"pi\.org|python" r"hosted|npm" r"js\.|ana" r"conda\.org)",
    "an absolute path of one machine": r"(?<![\w.~/-])/(?:ho"
    r"me|ro"
    r"ot|wo"
    r"rk|Use"
    r"rs|m"
    r"nt|t"
    r"mp)/\w",
    "a mark of unfinished work": r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b",
}
TEXTS = (".py", ".md", ".toml", ".yaml", ".yml", ".html", ".cfg", "Makefile", "run", "LICENSE")


def forbidden_words(path: str, text: str) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in FORBIDDEN.items():
            match = re.search(pattern, line)
            if match:
                found.append(f"{path}:{number}: {what}: {match[0]}")
    return found


def test_the_project_speaks_of_itself_alone() -> None:
    folders = [ROOT / name for name in ("emoref", "kernels", "docs", "bench", ".ci")]
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))] + sorted(ROOT.glob("*"))
    paths += [ROOT / ".pre-commit-config.yaml"]
    found = []
    for path in paths:
        if path.is_file() and path.name.endswith(TEXTS):
            found += forbidden_words(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "bad",
    [
        "see https://" + "py" + "pi.org/project/numpy",
        "files." + "python" + "hosted.org",
        'DATA = "/home/me/data"',
        "run /" + "work/demo",
        "# TODO: later",
    ],
)
def test_forbidden_words_are_found(bad: str) -> None:
    assert forbidden_words("a.py", f"first line\n{bad}\n")[0].startswith("a.py:2: ")


def test_harmless_texts_pass() -> None:
    assert forbidden_words("a.py", "../home/x a/home/b docs/results.md /proc/cpuinfo TODOS") == []
