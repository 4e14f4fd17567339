"""Start Python so that neither the current folder nor the owner's environment says what is imported.

The current folder may be a library that anybody drops files into, and a `json.py` in it must stay a file. Nothing is
imported here but what every Python has loaded when it starts.
"""

from __future__ import annotations

import os
import sys

ISOLATED = ("-E", "-P")
"""-E ignores PYTHONPATH and its like, -P the folder that a program is started in. -I would also hide the packages that
`pip install --user` installs, and sortd may be one of them."""

ANYWHERE = os.sep
"""Children start here: libraries read settings of theirs (matplotlibrc, .numba_config.yaml) in the current folder."""


def program(call: str, *arguments: str) -> list[str]:
    """Give the command that calls `call`, "module:function", in a new interpreter, with `arguments` in sys.argv.

    It looks where a new interpreter does, and then where this one does.
    """
    module, _, function = call.partition(":")
    path = [entry for entry in sys.path if entry.startswith(os.sep)]
    code = (
        f"import sys; sys.path += [entry for entry in {path!a} if entry not in sys.path]; "
        f"from {module} import {function}; {function}()"
    )
    return [sys.executable, *ISOLATED, "-c", code, *arguments]


def environment(**more: str) -> dict[str, str]:
    """Give the environment of a child: the owner's, but for what Python reads of it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


def forget_current_folder() -> None:
    """Import nothing more from the current folder, nor from where the environment says; a new process's first act.

    Only a folder that sortd itself was found in stays.
    """
    named = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    brought = named.split(os.pathsep) if named else []
    if not sys.flags.safe_path:
        brought += sys.path[:1]
    unwanted = {os.path.abspath(entry) for entry in brought}  # noqa: PTH100 - "" is the current folder here
    unwanted.discard(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - as above
    sys.path[:] = [entry for entry in sys.path if entry.startswith(os.sep) and entry not in unwanted]
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
