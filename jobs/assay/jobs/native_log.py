"""What native code writes to standard error while a panel is shown: kept aside, and told only if the job fails.

Ray's C++ core writes lines of its own to file descriptor 2, where they tear the panel and frighten newcomers. Knows
file descriptors; does not know Ray.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from assay.jobs.ending import witnessed
from assay.platform.errors import AssayError

_EXPLAINED = (2, 4)
"""Exit codes of errors that explain themselves: a spec that cannot be, and a stop that was asked for."""


@contextmanager
def native_log_aside() -> Iterator[TextIO]:
    """Within: descriptor 2 goes to a temporary file, and the stream yielded to where it went before.

    When the body fails, what was kept is written out, so that nothing that explains a failure is lost; when the process
    ends on the spot, its witness does that.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as kept, os.fdopen(os.dup(terminal), "w", buffering=1) as shown:
        os.dup2(kept.fileno(), 2)
        try:
            with witnessed(kept.fileno(), terminal):
                yield shown
        except BaseException as error:
            if not (isinstance(error, AssayError) and error.exit_code in _EXPLAINED):
                kept.seek(0)
                shown.write(kept.read().decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
