"""The one exception tree. Knows how an error is told; knows nothing of what fails.

    AssayError                      the job cannot go on                         exit 5
      SpecError                     the caller asked for something impossible    exit 2
        LibraryError                  a semantic library that does not hold together
        PolicyError                   a policy that names what is not there, or thresholds out of order
        ReleaseError                  a release whose parts are missing, changed or do not fit
        GoldenError                   a golden set that does not hold together, or does not fit what it is used with
        ManifestError                 a source that cannot be planned: empty, duplicate uris, missing columns
        StoreVersionError             a store this version of Assay must not touch
      StorageError                  object storage said no to the whole job      exit 5
        CredentialsError              wrong, expired or missing credentials
        BucketError                   the bucket or prefix is not there
      CommitError                   the commit layer refused a transaction       exit 5
        FencedError                   another driver has the store
      RegistryError                 the registry cannot answer, or not rightly   exit 5
        ConflictError                 somebody else promoted or rolled back first
      ConservationError             rows out differ from rows in                 exit 5
      Interrupted                   asked to stop; resumable                     exit 4

What is wrong with one image is never here: it is a `Fault` in that image's row (`faults.py`).
"""

from typing import ClassVar


class AssayError(Exception):
    """Something the caller must know: what failed, where, why, and how to mend it.

    `what` is a sentence; `where` names the file, key or uri; `why` is the cause as found; `fix` is what to do next.
    """

    exit_code: ClassVar[int] = 5

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        self.what, self.where, self.why, self.fix = what, where, why, fix
        super().__init__(what)

    def __str__(self) -> str:
        parts = [("", self.what), ("where: ", self.where), ("why: ", self.why), ("fix: ", self.fix)]
        return "\n  ".join(f"{name}{text}" for name, text in parts if text)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Ray pickles them); keyword-only fields need saying.
        return _rebuild, (type(self), self.what, self.where, self.why, self.fix)


def _rebuild(kind: type[AssayError], what: str, where: str, why: str, fix: str) -> AssayError:
    return kind(what, where=where, why=why, fix=fix)


class SpecError(AssayError):
    """The caller wrote something that cannot be done; nothing was started."""

    exit_code = 2


class LibraryError(SpecError):
    """A semantic library that does not hold together."""


class PolicyError(SpecError):
    """A policy that does not fit its library."""


class ReleaseError(SpecError):
    """A release whose parts are missing, changed, or do not fit each other."""


class GoldenError(SpecError):
    """A golden set that does not hold together, or does not fit the release it is used with."""


class ManifestError(SpecError):
    """A source that cannot be planned."""


class StoreVersionError(SpecError):
    """A store written by another version, or bound to another encoder."""


class StorageError(AssayError):
    """Object storage refused the whole job, not one object."""


class CredentialsError(StorageError):
    """Wrong, expired or missing credentials."""


class BucketError(StorageError):
    """The bucket or prefix is not there."""


class CommitError(AssayError):
    """The commit layer refused a transaction."""


class FencedError(CommitError):
    """Another driver has the store; nothing of ours was added to what it does."""


class RegistryError(AssayError):
    """The registry cannot answer, or what it holds is not what was registered."""


class ConflictError(RegistryError):
    """Somebody else promoted or rolled back first; nothing of ours was done."""


class ConservationError(AssayError):
    """Rows out differ from rows in: the product's own check failed."""


class Interrupted(AssayError):
    """The job was asked to stop. What was committed stays; the same command goes on."""

    exit_code = 4
