"""An encoder is ready without torch's compiler, and whoever wants the compiler afterwards has all of it."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.platform import late_compiler
from assay.platform.late_compiler import defer_compiler

ENCODES = """
import sys
import numpy as np
from assay.platform.encoder import BUNDLED_ENCODER, load_clip
encoder = load_clip(BUNDLED_ENCODER, "digest", "fp32", "cpu")
size = encoder.preprocess.size
assert np.isfinite(encoder.encode_images(np.zeros((1, size, size, 3), np.uint8))).all()
assert np.isfinite(encoder.encode_texts(["a pistol"])).all()
heavy = [name for name in sys.modules if name.split(".")[0] == "sympy" or name.startswith("torch._dynamo")]
assert not heavy, heavy

import torch
assert torch.compile(lambda seen: seen + 1, backend="eager")(torch.zeros(1)) == 1
assert torch._dynamo.disable.__module__.startswith("torch._dynamo"), "the real one, now"
"""

PACKAGE = """
from . import utils
ran = True
def disable(function, recursive=True):
    return lambda *args: (function(*args), recursive)
"""
UTILS = """
other = 7
def is_compile_supported(device):
    return device == "cpu"
"""


def test_an_encoder_is_ready_without_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", ENCODES], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of torch's shape; running it is told in its `ran`."""
    name = "planted_compiler"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "utils.py").write_text(UTILS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(late_compiler, "COMPILER", name)
    monkeypatch.setattr(late_compiler, "QUESTIONS", f"{name}.utils")
    yield name
    for loaded in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[loaded]


def test_what_was_taken_runs_the_compiler_when_called(compiler: str) -> None:
    with defer_compiler():
        asks = importlib.import_module(f"{compiler}.utils").is_compile_supported
        marked = importlib.import_module(compiler).disable(len, False)
        marked_too = importlib.import_module(compiler).disable(recursive=False)(len)
    assert not [name for name in sys.modules if name.startswith(compiler)]
    assert asks("cpu") is True
    assert sys.modules[compiler].ran
    assert marked("four") == marked_too("four") == (4, False)


def test_a_call_meanwhile_runs_it_once(compiler: str) -> None:
    with defer_compiler():
        package = importlib.import_module(compiler)
        assert package.disable(len)("four") == (4, True)
        assert package.utils.is_compile_supported("cpu") is True
    assert importlib.import_module(compiler) is package
    assert importlib.import_module(f"{compiler}.utils").other == 7


def test_whoever_asks_for_more_gets_the_real_module(compiler: str) -> None:
    with defer_compiler():
        utils = importlib.import_module(f"{compiler}.utils")
        assert utils.other == 7
        assert utils.is_compile_supported("gpu") is False
        assert compiler in sys.modules
    assert sys.modules[f"{compiler}.utils"] is utils
    assert compiler not in sys.modules or hasattr(sys.modules[compiler], "ran")


def test_a_compiler_that_runs_is_left_alone(compiler: str) -> None:
    before = importlib.import_module(compiler)
    with defer_compiler():
        assert sys.modules[compiler] is before
        assert importlib.import_module(compiler).ran
    assert sys.modules[compiler] is before
