import pickle

import pytest

from assay.platform import errors
from assay.platform.errors import AssayError, CommitError, CredentialsError, Interrupted, SpecError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AssayError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_a_process_border(kind: type[AssayError]) -> None:
    error = kind("it broke", where="here\nthere", why="<b>", fix="mend it")
    sent = pickle.loads(pickle.dumps(error))
    assert type(sent) is kind
    assert (sent.what, sent.where, sent.why, sent.fix) == ("it broke", "here\nthere", "<b>", "mend it")
    assert str(sent) == str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_the_exit_code_follows_from_the_branch(kind: type[AssayError]) -> None:
    expected = 2 if issubclass(kind, SpecError) else 4 if issubclass(kind, Interrupted) else 5
    assert kind.exit_code == expected


def test_the_branches_are_what_the_table_says() -> None:
    described = errors.__doc__ or ""
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in described] == []
    assert issubclass(CredentialsError, errors.StorageError)
    assert not issubclass(CommitError, errors.StorageError)


def test_only_what_is_known_is_told() -> None:
    assert str(AssayError("it broke")) == "it broke"
    assert str(AssayError("it broke", fix="mend it", where="here")) == "it broke\n  where: here\n  fix: mend it"
