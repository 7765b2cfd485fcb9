"""What `assay key new` does between its flags and its exit code.

Knows terminals and JSON output. Does not know what a key is made of.
"""

import json
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from assay.serving.new_key import NewKeySpec, make_key

AsJson = Annotated[bool, Parameter(name="--json", help="print one JSON object, nothing else, on stdout")]


def new(spec: Annotated[NewKeySpec, Parameter(name="*")], *, as_json: AsJson = False) -> int:
    """Make an API key. The key is shown this once; the entry for the keyring holds its hash only."""
    made = make_key(spec)
    secret = made.secret.get_secret_value()
    if as_json:
        print(json.dumps({"secret": secret, "key": made.key.model_dump(mode="json"), "entry": made.entry}))
        return 0
    told = Console(stderr=True, highlight=False)
    told.print(Text("the key, for whoever will use it; it is shown this once", style="bold"))
    print(secret)
    told.print(Text("\nits entry, to put below `keys:` in the keyring", style="bold"))
    print(made.entry, end="")
    return 0
