"""What is served is told: releases, policies, labels."""

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from assay.serving.keys import Scope
from tests.jobs.colour_releases import colour_release
from tests.service_double import Double, new_key, service_double


def test_the_release_is_pinned_and_told(double: Double) -> None:
    (told,) = double.client.get("/v1/releases").json()["releases"]
    release = double.service.standing.champion.release
    assert (told["role"], told["release"], told["digest"]) == ("champion", release.id, release.digest)
    assert told["encoder"] == release.manifest.encoder.digest
    assert told["since"].endswith("+00:00")


def test_policies_have_their_thresholds(double: Double) -> None:
    told = {one["name"]: one for one in double.client.get("/v1/policies").json()["policies"]}
    assert set(told) == {"plain", "firm"}
    thresholds = {one["label"]: (one["review"], one["block"]) for one in told["firm"]["labels"]}
    assert thresholds["red_things"][0] == 0.7 or abs(thresholds["red_things"][0] - 0.7) < 1e-6
    assert thresholds["red_things"][1] is None
    json.dumps(told, allow_nan=False)


def test_a_key_sees_the_policies_it_may_choose(tmp_path: Path) -> None:
    secret, key = new_key(policies=("firm",), scopes=(Scope.ANALYZE,), tenant="narrow")
    with service_double(colour_release(tmp_path / "release"), keys=(key,)) as running:
        theirs = {"authorization": f"Bearer {secret}"}
        (told,) = running.client.get("/v1/policies", headers=theirs).json()["policies"]
        assert (told["name"], told["is_default"]) == ("firm", True)
        refused = running.client.post(
            "/v1/analyze?policy=plain", content=b"x", headers={**theirs, "content-type": "image/png"}
        )
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert running.client.get("/metrics", headers=theirs).status_code == 403
        assert running.client.get("/v1/jobs", headers=theirs).status_code == 403


def test_labels_say_where_they_stand(double: Double) -> None:
    told = {one["label"]: one for one in double.client.get("/v1/labels").json()["labels"]}
    assert set(told) == {"red_things", "blue_things"}, "a retired label is not scored"
    assert told["red_things"]["category"] == "colours"
    assert told["red_things"]["evidence"] is True
    assert told["red_things"]["calibrated"] is False


def test_of_a_label_without_evidence_none_is_shown(tmp_path: Path, picture: Callable[[str], bytes]) -> None:
    from tests.jobs import colour_releases

    library = yaml.safe_load(colour_releases.LIBRARY)
    library["categories"]["colours"]["labels"]["red_things"]["no_evidence"] = True
    kept, colour_releases.LIBRARY = colour_releases.LIBRARY, yaml.safe_dump(library)
    try:
        release = colour_release(tmp_path / "silent")
    finally:
        colour_releases.LIBRARY = kept
    with service_double(release) as running:
        told = {one["label"]: one["evidence"] for one in running.client.get("/v1/labels").json()["labels"]}
        assert told == {"red_things": False, "blue_things": True}
        for colour, shown in {"red": False, "blue": True}.items():
            answer = running.client.post(
                "/v1/analyze?evidence=true", content=picture(colour), headers={"content-type": "image/png"}
            )
            (finding,) = answer.json()["images"][0]["findings"]
            assert (finding["prompt"] is not None) is shown
            assert (finding["view"] is not None) is shown
