"""What it takes to encode a store's images again: bytes, requests, hours, and money where the user says the prices.

Knows what manifests plan, and arithmetic. Does not know prices of any cloud, nor how fast an encoder is: a rate is
measured by who asks. Reads no row of observations.
"""

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.generation import Generation, generations
from assay.jobs.manifest import read_rows
from assay.jobs.store import Store
from assay.platform.members import parse_member
from assay.platform.spec import Spec


class RatesSpec(Spec):
    """Prices, of which Assay knows none."""

    hour: float | None = Field(None, ge=0, description="dollars for an hour of the machine that encodes")
    million_gets: float | None = Field(None, ge=0, description="dollars for a million GET requests")


class ReencodePrice(BaseModel):
    """What encoding some images takes. Fields are None where nobody said or measured what they are made from."""

    model_config = ConfigDict(frozen=True)

    images: int
    share: float
    """Of the images that the store has planned."""
    bytes: int
    """To fetch; of a part, in proportion."""
    requests: int
    """GETs, at least: one for each loose image; what lies in packs is fetched by shards."""
    images_per_second: float | None = None
    hours: float | None = None
    """On one machine with this rate."""
    dollars_time: float | None = None
    dollars_requests: float | None = None

    def at(self, images_per_second: float, rates: RatesSpec | None = None) -> "ReencodePrice":
        """With a rate measured on the machine that will encode, and prices."""
        hours = self.images / images_per_second / 3600 if images_per_second > 0 else None
        asked = rates or RatesSpec()
        return self.model_copy(
            update={
                "images_per_second": images_per_second,
                "hours": hours,
                "dollars_time": None if asked.hour is None or hours is None else asked.hour * hours,
                "dollars_requests": None
                if asked.million_gets is None
                else asked.million_gets * self.requests / 1_000_000,
            }
        )

    def of_part(self, images: int) -> "ReencodePrice":
        """Of some of the images, of which nothing is known but how many."""
        part = images / self.images if self.images else 0.0
        return ReencodePrice(
            images=images, share=self.share * part, bytes=round(self.bytes * part), requests=round(self.requests * part)
        )


def price_of_reencoding(store: Store) -> ReencodePrice:
    """What a backfill of the same images into a new store takes.

    Raises:
        ManifestError: a manifest cannot be read.
    """
    known = generations(store)
    images = sum(generation.images for generation in known)
    return ReencodePrice(
        images=images,
        share=1.0 if images else 0.0,
        bytes=sum(generation.bytes for generation in known),
        requests=sum(_requests(store, generation) for generation in known),
    )


def _requests(store: Store, generation: Generation) -> int:
    """At least: a generation is taken to be all loose, or all packed, as its first image is."""
    first = next((rows["uri"][0].as_py() for rows in read_rows(store, generation) if rows.num_rows), "")
    return generation.shards if parse_member(first) is not None else generation.images
