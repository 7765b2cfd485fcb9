"""The house holds: imports point down, the packaging traps stay shut, and help answers without heavy imports."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("platform", "jobs", "serving", "tuning", "registry")
BELOW = {
    "platform": {"platform"},
    "registry": {"registry", "platform"},
    "jobs": {"jobs", "registry", "platform"},
    "serving": {"serving", "registry", "platform"},
    "tuning": {"tuning", "registry", "platform"},
}
HEAVY = {"torch", "torchvision", "open_clip", "timm"}
TORCH_AT_HOME = {
    "platform": {"clip_encoder.py", "device_feed.py", "image_tower.py", "openvino_export.py"},
    "jobs": set(),
    "serving": set(),
    "registry": set(),
}
RAY_AT_HOME = {
    "platform": set(),
    "jobs": {"pipeline.py", "inlet.py"},
    "serving": {"app.py", "replica.py", "job_server.py"},
    "registry": set(),
}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room / "assay" / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def importing(module: str) -> list[str]:
    """The files that import a module, by name."""
    return [path.name for room in ROOMS for path in modules(room) if module in imported(path)]


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("assay.")}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room: str) -> None:
    for path in modules(room):
        assert rooms_of(imported(path)) <= BELOW[room], path


def test_the_arrow_test_can_fail(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from assay.serving import app\n")
    assert not rooms_of(imported(planted)) <= BELOW["platform"]


def test_heavy_libraries_come_through_one_door() -> None:
    doors = {
        "device_feed": ["clip_encoder.py"],
        "image_tower": ["clip_encoder.py"],
        "openvino_engine": ["openvino_encoder.py", "openvino_export.py"],
        "openvino_encoder": ["encoder.py", "openvino_export.py"],
        "openvino_export": ["encoder.py"],
    }
    for name, knowing in doors.items():
        assert importing(f"assay.platform.{name}") == knowing, name


@pytest.mark.parametrize("room", ["platform", "jobs", "serving", "registry"])
def test_heavy_libraries_stay_where_they_belong(room: str) -> None:
    for path in modules(room):
        tops = {name.split(".")[0] for name in imported(path)}
        assert path.name in TORCH_AT_HOME[room] or not tops & HEAVY, path
        assert path.name in RAY_AT_HOME[room] or "ray" not in tops, path
        assert room == "registry" or "mlflow" not in tops, path
        # The engine imports it by name, quietly; the export imports parts of it once the engine has.
        assert path.name == "openvino_export.py" or "openvino" not in tops, path


def test_no_stray_init_file() -> None:
    stray = [p for room in ROOMS for p in (ROOT / room).rglob("__init__.py")]
    stray += list((ROOT / "tests").rglob("__init__.py"))
    assert not stray, "an __init__.py here ends the namespace or shadows the standard library"


def test_the_standard_librarys_platform_is_intact_from_the_root() -> None:
    asked = "import platform, assay.platform.errors; print(platform.__file__); platform.machine()"
    for folder in (ROOT, ROOT / "platform", ROOT / "platform" / "assay"):
        out = subprocess.run(
            [sys.executable, "-c", asked], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        assert str(ROOT) not in out.replace(str(ROOT / ".venv"), ""), folder


def test_nothing_else_at_the_top() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    folders = {name.split("/")[0] for name in listed if "/" in name and not name.startswith(".")}
    assert folders <= {*ROOMS, "tests", "infra"}


def test_every_room_says_what_lives_here() -> None:
    for room in ROOMS:
        assert "May not live here" in (ROOT / room / "README.md").read_text(), room


def test_the_wheel_holds_every_module_and_all_data(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for room in ROOMS:
        for path in (ROOT / room / "assay").rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT / room).as_posix() in inside, path
    names = {Path(name).name for name in inside}
    assert {"open_clip_model.safetensors", "library.yaml", "strict.yaml", "report.html.j2", "NOTICE"} <= names


def test_help_answers_without_heavy_imports() -> None:
    asked = (
        "import sys, json\nfrom assay.jobs.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'pyarrow', 'mlflow', 'open_clip', 'openvino', 'pandas'}\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules} & heavy)))"
    )
    out = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert json.loads(out.strip().splitlines()[-1]) == []
    assert "backfill" in out
