"""A tower that is not what its card says is refused with a remedy; OpenVINO is used and nobody is told."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from assay.platform import openvino_engine
from assay.platform.encoder import BUNDLED_ENCODER
from assay.platform.errors import ReleaseError
from assay.platform.openvino_engine import compile_tower
from assay.platform.tower_card import (
    CARD_FILE,
    CONSTANTS_FILE,
    NETWORK_FILE,
    TOWER_FILES,
    WEIGHTS_FILE,
    TowerCard,
    read_constants,
)

ALONE = "ASSAY_TEST_ALONE"
pytestmark = pytest.mark.skipif(ALONE not in os.environ, reason="run by test_openvino_alone.py")
"""Native code reads damaged files here. Once in a whole run the process of all tests died at the end of this file, and
the cause is not known: so it has a process of its own, whose death is seen."""

Harm = Callable[[Path], None]


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    """A copy of the bundled tower."""
    for name in (*TOWER_FILES, WEIGHTS_FILE):
        shutil.copyfile(BUNDLED_ENCODER / name, tmp_path / name)
    return tmp_path


def compiled(directory: Path) -> object:
    card = TowerCard.find(directory)
    assert card is not None
    return compile_tower(directory, card, 2)


def cut(name: str, share: float) -> Harm:
    def harm(directory: Path) -> None:
        whole = (directory / name).read_bytes()
        (directory / name).write_bytes(whole[: int(len(whole) * share)])

    return harm


def gone(name: str) -> Harm:
    return lambda directory: (directory / name).unlink()


def rewritten(pattern: str, by: str) -> Harm:
    def harm(directory: Path) -> None:
        path = directory / NETWORK_FILE
        text, count = re.subn(pattern, by, path.read_text(), count=1)
        assert count == 1
        path.write_text(text)

    return harm


def carded(**change: object) -> Harm:
    def harm(directory: Path) -> None:
        path = directory / CARD_FILE
        told = json.loads(path.read_text())
        size = {"preprocess": told["preprocess"] | {"size": change["size"]}} if "size" in change else change
        path.write_text(json.dumps(told | size))

    return harm


HARMS: dict[str, tuple[Harm, str]] = {
    "network cut short": (cut(NETWORK_FILE, 0.5), "does not load"),
    "network empty": (cut(NETWORK_FILE, 0), "does not load"),
    "no network": (gone(NETWORK_FILE), "does not load"),
    "constants cut short": (cut(CONSTANTS_FILE, 0.5), "does not load"),
    "constants empty": (cut(CONSTANTS_FILE, 0), "does not load"),
    "no constants": (gone(CONSTANTS_FILE), "does not load"),
    "weights cut short": (cut(WEIGHTS_FILE, 0.5), "does not load"),
    "no weights": (gone(WEIGHTS_FILE), "does not load"),
    "a constant outside the file": (rewritten(r'offset="\d+"', 'offset="99999999999"'), "does not load"),
    "a layer from an extension": (
        rewritten(r'type="Clamp" version="opset1"', 'type="Own" version="extension"'),
        "load",
    ),
    "a layer from a library": (rewritten(r'type="Clamp"', 'type="Own" library="/tmp/own.so"'), "does not load"),
    "another size": (carded(size=96), "not such as its card says"),
    "another length": (carded(dim=255), "not such as its card says"),
    "one picture at a time": (rewritten(r'shape="\?,112,112,3"', 'shape="1,112,112,3"'), "not such as its card says"),
}


@pytest.mark.parametrize("name", HARMS)
def test_towers_that_are_refused(tower: Path, name: str) -> None:
    harm, what = HARMS[name]
    compiled(tower)
    harm(tower)
    with pytest.raises(ReleaseError, match=what) as caught:
        compiled(tower)
    assert caught.value.why
    assert "build it again" in caught.value.fix


def test_a_tower_that_remembers_is_refused(tower: Path) -> None:
    engine = openvino_engine.openvino
    constants = engine.Tensor(np.frombuffer(read_constants(tower), np.uint8))
    plain = engine.Core().read_model((tower / NETWORK_FILE).read_bytes(), constants)
    ops = engine.opset6
    seen = ops.read_value(ops.constant(0.0), "seen")
    remembering = engine.Model(plain.get_results(), [ops.assign(seen, "seen")], plain.get_parameters(), "remembering")
    engine.serialize(remembering, tower / NETWORK_FILE, tower / WEIGHTS_FILE)
    with pytest.raises(ReleaseError, match="keeps state"):
        compiled(tower)


def test_threads_are_those_torch_would_take(tower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for told, taken in (("1", 1), ("2,1", 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert openvino_engine._settings()["INFERENCE_NUM_THREADS"] == taken
    for told in ("", "none", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert openvino_engine._settings()["INFERENCE_NUM_THREADS"] >= 1


ENCODES = """
import sys
import numpy as np
from assay.platform.encoder import BUNDLED_ENCODER, load_encoder
encoder = load_encoder(BUNDLED_ENCODER, device="cpu")
size = encoder.preprocess.size
assert np.isfinite(encoder.encode_images(np.zeros((9, size, size, 3), np.uint8))).all()
assert encoder.notes == ()
heavy = {"torch", "torchvision", "open_clip", "timm", "openvino_telemetry"}
print(sorted({name.split(".")[0] for name in sys.modules} & heavy))
"""


def test_pictures_are_encoded_without_torch_and_nobody_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "openvino_telemetry.py").write_text("raise SystemExit('OpenVINO tells that it is used')")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ENCODES],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path / "home",
        env={"HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "planted"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert not list((tmp_path / "home").iterdir()), "nothing is cached"
