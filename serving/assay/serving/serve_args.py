"""What an online service is configured by: one typed argument for `assay serve`, `serve deploy` and KubeRay.

Knows the fields. Does not know what is done with them.
"""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from assay.platform.budget import Budget
from assay.platform.errors import SpecError
from assay.platform.spec import Spec
from assay.platform.storage import StorageSpec
from assay.registry.place import RegistrySpec
from assay.serving.job_places import JobsSpec
from assay.serving.keys import Key
from assay.serving.limits import ONLINE_BUDGET, BatchSpec, LimitSpec
from assay.serving.proof import GoldenImage
from assay.serving.remote_images import RemoteSpec

NAME = "assay"
"""Of the Serve application."""


class ReplicaSpec(Spec):
    """How many replicas there are, and what each takes of the cluster."""

    least: int = Field(1, ge=1, description="replicas that are always there")
    most: int = Field(1, ge=1, description="replicas under load")
    cpus: float = Field(1, ge=0, description="CPUs of a replica; its decoders share them")
    gpus: float = Field(0, ge=0, description="GPUs of a replica; a fraction shares one")
    decoders: int = Field(2, ge=1, description="images a replica decodes at once, each in a process of its own")
    load: float | None = Field(
        None, gt=0, description="requests under way per replica that autoscaling aims at; unset: one and a half batches"
    )

    up_s: float = Field(10, ge=0, description="seconds of more load before a replica is added")
    down_s: float = Field(300, ge=0, description="seconds of less load before one is taken away")

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) is above most ({self.most})")
        return self


class ServeArgs(Spec):
    """One online service. What it serves is an alias, mostly: a promotion is followed without a restart."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a secret pasted among the keys is not printed

    release: str = Field("starter", description="models:/NAME-release@champion, a version of it, or a directory")
    registry: RegistrySpec = Field(RegistrySpec(), description="where releases are registered")
    keyring: str | None = Field(
        None, description="YAML file or s3://… of API keys, by their hashes; read again and again"
    )
    keys: tuple[Key, ...] = Field((), description="keys beside the keyring's")
    device: str = Field("auto", description="auto, cpu or cuda")
    replicas: ReplicaSpec = Field(ReplicaSpec(), description="how many, and what each takes")
    batch: BatchSpec = Field(BatchSpec(), description="how pictures of many requests are encoded together")
    limits: LimitSpec = Field(LimitSpec(), description="what a request may bring and take")
    budget: Budget = Field(ONLINE_BUDGET, description="what one image may cost")
    golden: tuple[GoldenImage, ...] = Field((), description="stored images whose verdicts must be right before a swap")
    remote: RemoteSpec = Field(RemoteSpec(), description="addresses that images are fetched from; none")
    jobs: JobsSpec = Field(JobsSpec(), description="jobs that may be submitted: places, and whose they are; none")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of keyring and golden images")
    shadow: bool = Field(True, description="let the challenger judge the same embeddings, and tell its differences")
    poll_s: float = Field(1.0, gt=0, le=60, description="seconds between two looks at the promotion log")

    def refuse_locked(self) -> None:
        """Refuse a service that nobody may ask.

        Raises:
            SpecError: there are no keys.
        """
        if self.keyring is None and not self.keys:
            why = "neither keyring nor keys are set"
            raise SpecError("nobody may ask this service", why=why, fix="`assay key new` makes a key and its entry")
