"""A source of real objects and the store of an audit of it, and where in it an image can still be found."""

import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.forget import ForgetFacts, ForgetSpec, forget
from assay.jobs.generation import generations
from assay.jobs.manifest import Shard, ShardSpec, read_shards
from assay.jobs.plan import PlanFacts, PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri
from tests.store_doubles import PARTITION, data_file, judged_rows, observed_rows

OTHER = {"release": "release-2", "policy": "lenient"}


def embedding_of(uri: str) -> bytes:
    """64 bytes that no other image has."""
    return hashlib.sha256(b"1" + uri.encode()).digest() + hashlib.sha256(b"2" + uri.encode()).digest()


def sha256_of(uri: str) -> bytes:
    return hashlib.sha256(b"3" + uri.encode()).digest()


def observe_and_judge(store: Store, shard: Shard) -> None:
    """Rows with contents of their own, as a release would leave them, under two releases."""
    uris = [ref.uri for ref in shard.refs]
    rows = observed_rows(shard.number, shard.refs)
    for name, values in (("sha256", map(sha256_of, uris)), ("embedding", map(embedding_of, uris))):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.array([*values], pa.binary()))
    seen = write_observations(store.storage, store.uri, shard.number, rows)
    store.observations.commit([data_file(seen, len(uris), [shard.number])])
    for partition in (PARTITION, OTHER):
        judged = write_verdicts(store.storage, store.uri, shard.number, judged_rows(shard.number, shard.refs))
        store.verdicts.commit([data_file(judged, len(uris), [shard.number], partition)])


class Corpus:
    """A source of real objects, and the store of an audit of it."""

    def __init__(self, storage: Storage, place: str) -> None:
        self.storage, self.source, self.where = storage, f"{place}/source", f"{place}/store"

    def put(self, *names: str, content: bytes = b"a picture") -> None:
        for name in names:
            self.storage.write(f"{self.source}/{name}", content)

    def uri(self, name: str) -> str:
        return parse_uri(f"{self.source}/{name}").uri

    def plan(self, **how: object) -> PlanFacts:
        spec = PlanSpec.model_validate({"shard": ShardSpec(images=3), **how})
        return plan(Store.attach(self.storage, self.where), self.source, spec)

    def store(self) -> Store:
        """The store as another process finds it."""
        return Store.open(self.storage, self.where)

    def audit(self, **how: object) -> Store:
        """Plan, and observe and judge what is not done: as one driver does, under a lease."""
        self.plan(**how)
        store = self.store()
        with store.hold("a test"):
            done = {
                shard for file in store.observations.files() for shard in range(file.first_shard, file.last_shard + 1)
            }
            for generation in generations(store):
                for shard in read_shards(store, generation, set(range(10_000)) - done):
                    observe_and_judge(store, shard)
        command = f"assay backfill {self.source} --store {self.where}"
        known = sum(generation.images for generation in generations(store))
        store.write_run(
            "run-1", {"run": "run-1", "source": self.source, "command": command, "planned": known, **PARTITION}
        )
        return store

    def forget(self, place: str, **how: object) -> ForgetFacts:
        asked = {"place": place, "store": self.where, "storage": self.storage.spec, **how}
        return forget(ForgetSpec.model_validate(asked))

    def verify(self) -> VerifyFacts:
        return verify(VerifySpec(store=self.where, storage=self.storage.spec))


def audited(tmp_path: Path) -> Corpus:
    """Ten images on disk: six, audited; then four more, of which one under an odd name."""
    corpus = Corpus(Storage(), str(tmp_path))
    corpus.put(*(f"a/{number}.jpg" for number in range(6)))
    corpus.audit()
    corpus.put("a/6.jpg", "b/0.jpg", "b/1.jpg", "b/odd näme.jpg")
    corpus.audit()
    return corpus


def needles(corpus: Corpus, *names: str) -> dict[str, bytes]:
    """All that must not be found of some images, by what it is."""
    found: dict[str, bytes] = {}
    for name in names:
        uri = corpus.uri(name)
        spelled = {"uri": uri, "path": parse_uri(uri).key, "quoted": quote(uri), "json": json.dumps(uri)[1:-1]}
        found |= {f"{name} {how}": text.encode() for how, text in spelled.items()}
        found |= {f"{name} sha256": sha256_of(uri), f"{name} embedding": embedding_of(uri)}
        found |= {f"{name} sha256 hex": sha256_of(uri).hex().encode()}
    return found


def traces(store: Store, wanted: dict[str, bytes]) -> list[str]:
    """Where any of it is in a store: every file byte by byte, and every Parquet file read back."""
    found = []
    for file in store.storage.list(store.uri):
        content = store.storage.read(f"{store.uri}/{file.name}")
        assert content is not None
        rows = repr(pq.read_table(pa.BufferReader(content)).to_pylist()) if file.name.endswith(".parquet") else ""
        for what, needle in wanted.items():
            if needle in content or repr(needle)[2:-1] in rows or needle.decode("utf-8", "replace") in rows:
                found.append(f"{file.name}: {what}")
    return found
