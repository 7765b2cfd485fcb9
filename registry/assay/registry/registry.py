"""A registry, whole: MLflow's models and runs, and the promotion log beside them.

Knows how its parts are found. Does not know what is done with them.
"""

from functools import cached_property

from assay.platform.errors import RegistryError, SpecError
from assay.platform.storage import Storage
from assay.registry.client import Client
from assay.registry.models import Kind, Models
from assay.registry.place import Place, RegistrySpec
from assay.registry.promotion_log import PromotionLog
from assay.registry.runs import Runs

LOG_TAG, SETTLED_TAG, HASH_TAG = "assay.log", "assay.settled", "assay.settled_entry"
"""Tags of the registered model of releases: where the log lies, up to which entry the alias follows it, and that one's
number and sha256: no later entry names it by its hash yet."""
_ABOUT: dict[Kind, str] = {
    "encoder": "Image-text encoders. A release names one of these versions.",
    "library": "Snapshots of the semantic library. A release names one of these versions.",
    "release": "Releases: an encoder, a library, calibration and policies. No champion yet.",
}


class Registry:
    """One environment of a registry. Cheap to make; connects when first used."""

    def __init__(self, spec: RegistrySpec | None = None) -> None:
        self.spec = spec or RegistrySpec()
        client = Client(self.spec)
        self.place: Place = client.place
        self.models, self.runs = Models(client), Runs(client)

    def establish(self) -> None:
        """Make the registered models, and settle where the log lies; nothing is done when they are there.

        Raises:
            SpecError: nobody said where the log lies, or it lies elsewhere.
        """
        for kind, about in _ABOUT.items():
            self.models.establish(kind, {}, about)
        if self.spec.log and LOG_TAG not in self.models.model_tags("release"):
            self.models.tag_model("release", {LOG_TAG: self.spec.log.rstrip("/")})
        assert self.log

    @cached_property
    def log(self) -> PromotionLog:
        """The promotion log.

        Raises:
            SpecError: nobody said where it lies, or it lies elsewhere.
        """
        storage = Storage(self.spec.storage)
        if self.place.folder is not None and not self.spec.log:
            return PromotionLog(storage, str(self.place.folder / "promotions" / self.spec.name))
        asked = (self.spec.log or "").rstrip("/")
        said = self.models.model_tags("release").get(LOG_TAG, "")
        if said and asked and asked != said:
            why = f"this registry's releases were promoted in {said}"
            fix = "leave --registry.log away; another environment has another --registry.name"
            raise SpecError("the promotion log lies elsewhere", where=asked, why=why, fix=fix)
        if not (said or asked):
            raise SpecError(
                "nobody said where the promotion log lies",
                where=self.place.uri,
                why="MLflow keeps no history of aliases, so the log lies beside it",
                fix="say --registry.log s3://…/promotions once, with a place that only promoters may write to",
            )
        return PromotionLog(storage, said or asked)

    def refuse_strangers(self, model: str, asked: str) -> None:
        """Refuse the version of a model that is not of this environment.

        Raises:
            RegistryError: it is of another one.
        """
        if model.rpartition("-")[0] != self.spec.name:
            why = f"this environment's models are named {self.spec.name}-…"
            fix = "copy the release here with its parts: `assay release copy`"
            raise RegistryError("a part of the release is of another registry", where=asked, why=why, fix=fix)
