"""What a stranger sees in MLflow's own pages, in a real browser, of a real server."""

from pathlib import Path

from assay.platform.release import Release, bundled_release
from assay.registry.place import RegistrySpec
from assay.registry.promotion import PromoteSpec, RollbackSpec, promote, rollback
from assay.registry.registering import RegisterSpec, register
from infra.bench.mlflow_server import PASSWORD
from tests.browser import launched

WAIVE = ("scorecard=nobody confirmed images yet", "golden=likewise", "calibration=a double", "diff=no store yet")


def test_a_stranger_sees_who_is_champion_and_why(open_remote: RegistrySpec, release_dir: Path, tmp_path: Path) -> None:
    for directory in (bundled_release(), release_dir):
        made = register(Release.load(directory), RegisterSpec(registry=open_remote))
        asked = PromoteSpec(release=str(made.number), waive=WAIVE, reason="November's words", registry=open_remote)
        promote(asked)
    rollback(RollbackSpec(registry=open_remote, reason="too many cleared", by="ana"))
    with launched() as chromium:
        context = chromium.new_context(
            viewport={"width": 1400, "height": 1100},
            http_credentials={"username": open_remote.username or "", "password": PASSWORD},
        )
        page = context.new_page()
        page.goto(f"{open_remote.uri}/#/models/{open_remote.name}-release")
        page.get_by_text("Champion: version 1").first.wait_for(timeout=90_000)
        seen = page.inner_text("body")
        page.screenshot(path=str(tmp_path / "mlflow.png"))
        context.close()
    for words in ("too many cleared", "No more: version 2", "It passed the gate with entry 1", "November's words"):
        assert words in seen, seen
    assert "nobody confirmed images yet" in seen
