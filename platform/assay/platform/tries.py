"""The tries of one request: how many there are, and how long to wait before the next.

Knows kinds of trouble and time. Does not know requests.
"""

import random
import time
from dataclasses import dataclass, field

from assay.platform.refusals import Trouble

FIRST_WAIT_S = 0.1
"""Seconds before the second try, at most; doubled for every further one."""
LONGEST_WAIT_S = 10.0
SHORT_PATIENCE = {Trouble.DENIED: 5, Trouble.SKEWED: 3}
"""Times a trouble may be met that is more often meant than passing: a refusal of access, a clock that is off."""


@dataclass(slots=True)
class Tries:
    """The tries of one request, `most` in all."""

    most: int
    made: int = 0
    met: dict[Trouble, int] = field(default_factory=dict)

    def again(self, trouble: Trouble) -> bool:
        """Count a failure; wait, and say whether to ask once more.

        The wait is drawn from zero to a bound that doubles (full jitter): many threads that were refused together do
        not come back together.
        """
        self.made += 1
        self.met[trouble] = self.met.get(trouble, 0) + 1
        if self.made >= self.most or self.met[trouble] >= SHORT_PATIENCE.get(trouble, self.most):
            return False
        time.sleep(random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self.made)))  # noqa: S311  # no secret
        return True
