"""A registry, whole: MLflow's models and runs, and the promotion log beside them.

Knows how its parts are found. Does not know what is done with them.
"""

from functools import cached_property

from assay.platform.errors import RegistryError, SpecError
from assay.platform.storage import Storage
from assay.registry.client import Client
from assay.registry.models import Models
from assay.registry.place import Place, RegistrySpec
from assay.registry.promotion_log import PromotionLog
from assay.registry.runs import Runs

LOG_TAG, SETTLED_TAG = "assay.log", "assay.settled"
"""Tags of the registered model of releases: where the log lies, and up to which entry the alias follows it."""
_ABOUT = {
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
        """Make the registered models, and settle where the log lies; nothing is done when they are there."""
        tags = {LOG_TAG: self._own_log} if self._own_log else {}
        self.models.establish("encoder", {}, _ABOUT["encoder"])
        self.models.establish("library", {}, _ABOUT["library"])
        self.models.establish("release", tags, _ABOUT["release"])
        found = self.models.model_tags("release")
        if self._own_log and LOG_TAG not in found:
            self.models.tag_model("release", tags)

    @cached_property
    def log(self) -> PromotionLog:
        """The promotion log.

        Raises:
            SpecError: nobody said where it lies, or it lies elsewhere.
        """
        said = self.models.model_tags("release").get(LOG_TAG, "")
        own = self._own_log
        if said and self.spec.log and own != said:
            why = f"this registry's releases were promoted in {said}"
            fix = "leave --registry.log away; another environment has another --registry.name"
            raise SpecError("the promotion log lies elsewhere", where=own, why=why, fix=fix)
        if not (said or own):
            raise SpecError(
                "nobody said where the promotion log lies",
                where=self.place.uri,
                why="MLflow keeps no history of aliases, so the log lies beside it",
                fix="say --registry.log s3://…/promotions once, with a place that only promoters may write to",
            )
        return PromotionLog(Storage(self.spec.storage), said or own)

    @property
    def _own_log(self) -> str:
        """Where the spec has it, or where it lies beside a file; empty for a server that has not been told."""
        if self.spec.log:
            return self.spec.log.rstrip("/")
        return str(self.place.folder / "promotions" / self.spec.name) if self.place.folder else ""

    def refuse_strangers(self, model: str, asked: str) -> None:
        """Refuse the version of a model that is not of this environment.

        Raises:
            RegistryError: it is of another one.
        """
        if model.rpartition("-")[0] != self.spec.name:
            why = f"this environment's models are named {self.spec.name}-…"
            fix = "copy the release here with its parts: `assay release copy`"
            raise RegistryError("a part of the release is of another registry", where=asked, why=why, fix=fix)
