"""The demo: a composed bucket, the real pipeline, the real report, on one machine with nothing installed but Assay.

Knows the order and the words at the end. Everything it runs is what production runs.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field
from rich.console import Console
from rich.progress import Progress

from assay.jobs.backfill import BackfillSpec
from assay.jobs.corpus import CorpusSpec, compose_corpus
from assay.jobs.demo_change import RunReaudit, change_text
from assay.jobs.demo_promotion import promote_and_go_back
from assay.jobs.manifest import ShardSpec
from assay.jobs.reporting import ReportSpec, report
from assay.jobs.run import BackfillFacts
from assay.jobs.verify import VerifySpec, verify
from assay.platform.errors import ConservationError
from assay.platform.spec import Spec
from assay.registry.promotion_entry import Entry

SHARD = 64
"""Images in a shard of the demo: small, so that verdicts are seen to arrive."""


class DemoSpec(Spec):
    """Where the demo works, and how much."""

    directory: Path = Field(Path("demo"), description="folder of the bucket, the store and the report")
    images: int = Field(2000, ge=100, description="images in the bucket, about")
    seed: int = Field(7, description="seed of the bucket")
    policy: str | None = Field(None, description="policy of the starter release; unset: its default")


RunBackfill = Callable[[BackfillSpec, bool], BackfillFacts]


def demo(spec: DemoSpec, run: RunBackfill, again: RunReaudit, console: Console, *, as_json: bool) -> None:
    """Compose the bucket, audit it, verify the store, write the report; then change the text, audit again what is
    stored, and write what is different. Says what to try next.

    Raises:
        ConservationError: the store did not verify.
    """
    began = time.monotonic()
    bucket, store, page = spec.directory / "bucket", spec.directory / "store", spec.directory / "report.html"
    with Progress(console=console, transient=True, disable=as_json) as bar:
        task = bar.add_task("composing a bucket", total=spec.images)
        corpus = compose_corpus(
            bucket,
            CorpusSpec(images=spec.images, seed=spec.seed),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    audit = BackfillSpec(
        source=str(bucket), store=str(store), policy=spec.policy, max_fault_rate=1.0, shard=ShardSpec(images=SHARD)
    )
    facts = run(audit, as_json)
    proof = verify(VerifySpec(store=str(store)))
    if not proof.sound:
        raise ConservationError("the demo's store does not verify", where=str(store), why=str(proof), fix="report this")
    written = report(ReportSpec(store=str(store), out=page))
    if not as_json:
        console.print(f"report {page}; now a new rule, while the bucket is moved away", highlight=False)
    change = change_text(spec.directory, store, facts.release, facts.policy, again, as_json)
    if not as_json:
        console.print(f"diff {change.page}; now the registry: promote, and go back", highlight=False)
    moved = promote_and_go_back(spec.directory, spec.directory / "fireworks-release", Path(change.json_file))
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        print(
            json.dumps(
                {
                    "corpus": corpus.model_dump(mode="json"),
                    "verify": proof.model_dump(),
                    "change": change.model_dump(),
                    "promotion": moved.model_dump(mode="json"),
                    "seconds": seconds,
                    **written.model_dump(),
                }
            )
        )
        return
    flagged = ", ".join(
        f"{name} {count}" for name, count in sorted(written.labels.items(), key=lambda one: -one[1]) if count
    )
    console.print(
        f"\n[bold green]done[/] in {seconds} s: {proof.planned:,} images, {proof.ok:,} judged, {proof.faulted} faults, "
        f"none missing, none doubled; {facts.images_per_second:,.0f} images/s\n"
        f"flagged: {flagged or '-'}\n"
        f"then a label for fireworks was added ({change.library}) and all judged again while the bucket was away:\n"
        f"{len(change.carried)} labels carried over, {len(change.scored)} scored, {change.newly_flagged} flagged anew\n"
        f"the gate refused it ({', '.join(moved.refused)}: nobody had measured it); waived, promoted, rolled back:\n"
        f"{_history(moved.log)}\n"
        f"[bold]report[/] {page}\n[bold]diff[/]   {change.page}\n\ntry next:\n"
        f"  .venv/bin/assay verify {store} --json\n"
        f"  .venv/bin/assay reaudit {store} --policy lenient\n"
        f"  .venv/bin/assay replay {store} --sample 100\n"
        f"  .venv/bin/assay release log --registry.uri sqlite:///{moved.registry}/mlflow.db\n"
        f"  .venv/bin/mlflow server --backend-store-uri sqlite:///{moved.registry}/mlflow.db --port 5000\n"
        f"  .venv/bin/assay doctor",
        highlight=False,
    )


def _history(entries: Sequence[Entry]) -> str:
    return "\n".join(
        f"  {one.number}  {one.at}  {one.action} v{one.after.version} {one.after.release}: {one.reason}"
        for one in entries
    )
