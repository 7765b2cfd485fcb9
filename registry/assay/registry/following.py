"""Where an alias points, for who asks every second: one small read of the promotion log, and no release is fetched.

Knows how to tell that an alias may have moved. Does not know the release it points to (`resolving.py`).
"""

from functools import cached_property

from assay.platform.errors import ReleaseError
from assay.registry.place import RegistrySpec
from assay.registry.promotion_entry import Entry
from assay.registry.promotion_log import PromotionLog
from assay.registry.registry import Registry
from assay.registry.resolving import REF, Tell, find_log


class Follower:
    """Follows one alias. The registry is asked where its log lies once; from then on only the log is read."""

    def __init__(self, ref: str, spec: RegistrySpec, tell: Tell = lambda _line: None) -> None:
        """`ref` is `models:/NAME-release@ALIAS`.

        Raises:
            ReleaseError: it is no alias.
        """
        match = REF.fullmatch(ref)
        if match is None or not match["alias"]:
            fix = "follow models:/NAME-release@champion; a version or a directory stays what it is"
            raise ReleaseError(f"{ref!r} cannot be followed", where=ref, why="it is no alias", fix=fix)
        self.ref, self.alias = ref, match["alias"]
        self.environment = match["name"]
        self._spec, self._tell = spec.model_copy(update={"name": self.environment}), tell

    @cached_property
    def _log(self) -> PromotionLog:
        return find_log(Registry(self._spec), self._tell)

    def last(self) -> Entry | None:
        """The log's last entry; None when nothing was ever promoted.

        Raises:
            RegistryError, StorageError: the log cannot be found or read.
        """
        return self._log.last()
