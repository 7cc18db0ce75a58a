import subprocess
import sys

import numpy as np

from emoref.verify import GOLDEN_PATH, load_golden, relative_error
from emoref.verify.make_golden import build, main


def test_the_file_that_ships_is_what_the_builder_makes(tmp_path):
    """Anew, in a process of its own; the last bits may depend on the processor."""
    path = tmp_path / "golden.h5"
    run = subprocess.run(
        [sys.executable, "-m", "emoref.verify.make_golden", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert str(path) in run.stdout
    made, shipped = load_golden(path), load_golden(GOLDEN_PATH)
    assert len(made.cases) == len(shipped.cases)
    for new, old in zip(made.cases, shipped.cases, strict=True):
        where = f"{old.operation}: {old.about}"
        assert (new.operation, new.about, new.arguments) == (old.operation, old.about, old.arguments), where
        assert list(new.inputs) == list(old.inputs), where
        assert list(new.results) == list(old.results), where
        for name, array in old.inputs.items():
            assert relative_error(new.inputs[name], array) <= 1e-12, f"{where}: {name}"
        for name, array in old.results.items():
            assert relative_error(new.results[name], array) <= 1e-12, f"{where}: {name}"
    assert (made.training.net, made.training.config) == (shipped.training.net, shipped.training.config)
    np.testing.assert_array_equal(made.training.images, shipped.training.images)
    np.testing.assert_array_equal(made.training.labels, shipped.training.labels)
    for name, array in shipped.training.expected.items():
        assert relative_error(made.training.expected[name], array) <= 1e-12, name


def test_building_twice_writes_the_same_bytes(tmp_path, capsys):
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for path in paths:
        assert main([str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert capsys.readouterr().out.count("bytes") == 2


def test_mistakes(tmp_path, capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m emoref.verify.make_golden")
    assert main([str(tmp_path / "absent" / "golden.h5")]) == 2
    assert "absent" in capsys.readouterr().err


def test_what_the_cases_are_there_for():
    cases = build()
    conv = [(case.inputs["w"].shape, case.arguments) for case in cases.cases_of("conv2d")]
    assert any(o["groups"] == w[0] > 1 for w, o in conv), "depthwise"
    assert any(1 < o["groups"] < w[0] for w, o in conv), "groups"
    assert any(o["stride"] == w[2] + 1 for w, o in conv), "stride larger than the kernel"
    assert any(isinstance(o["stride"], list) for _, o in conv), "sides that differ"
    tied = [case for case in cases.cases_of("max_pool2d") if "first wins" in case.about]
    assert set(np.unique(tied[0].inputs["x"])) == {-1, 0, 1}
    # The loss falls or rises, but no step is without effect.
    assert len(set(cases.training.losses)) == 10
