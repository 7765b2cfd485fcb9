"""From an observation and a verdict to the document that is sent. Knows both; decides nothing."""

import base64
from typing import Any

from assay.platform.rows import VIEW
from assay.serving.champion import Champion
from assay.serving.intake import Options
from assay.serving.judging import Judged
from assay.serving.schemas import EmbeddingDocument, FindingDocument, ImageDocument, ViewDocument

_BOX = tuple(field.name for field in VIEW if field.name in {"x0", "y0", "x1", "y1"})


def image_document(index: int, id: str | None, judged: Judged, options: Options, champion: Champion) -> ImageDocument:
    """One image's answer, in the words of the batch rows."""
    observation, verdict = judged.observation, judged.verdict
    views = [_view(one) for one in observation["views"] or []]
    findings = [_finding(one, views, options, champion.silent) for one in verdict["findings"]]
    sha256 = observation["sha256"]
    return ImageDocument(
        index=index,
        id=id,
        outcome=verdict["outcome"],
        detail=observation["detail"],
        action=verdict["action"],
        findings=findings,
        scores=dict(verdict["scores"]) if verdict["scores"] is not None else None,
        format=observation["format"],
        width=observation["width"],
        height=observation["height"],
        frames=observation["frames"],
        sha256=sha256.hex() if sha256 else None,
        embedding=_embedding(observation, views, champion) if options.embeddings and views else None,
    )


def _view(row: dict[str, Any]) -> ViewDocument:
    x0, y0, x1, y1 = (row[name] for name in _BOX)
    return ViewDocument(kind=row["kind"], box=(x0, y0, x1, y1), time_s=row["time_s"])


def _finding(
    row: dict[str, Any], views: list[ViewDocument], options: Options, silent: frozenset[str]
) -> FindingDocument:
    told = {name: row[name] for name in ("label", "action", "score")}
    if options.evidence and row["label"] not in silent:
        told |= {name: row[name] for name in ("concept", "prompt", "counter")}
        told["view"] = views[row["view"]]
    return FindingDocument(**told)


def _embedding(observation: dict[str, Any], views: list[ViewDocument], champion: Champion) -> EmbeddingDocument:
    pinned = champion.release.manifest.encoder
    data = base64.b64encode(observation["embedding"]).decode()
    return EmbeddingDocument(encoder=pinned.digest, dim=pinned.dim, views=views, data=data)
