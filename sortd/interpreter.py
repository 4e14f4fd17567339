"""How Python is started: neither the current folder nor the owner's environment says what is imported.

The current folder may be a library that anybody drops files into, and a `json.py` in it must stay a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, MutableSequence

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


def environment(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Give the environment of a child: the owner's, but for what Python reads of it."""
    return {name: value for name, value in environ.items() if not name.startswith("PYTHON")} | more


def forget_current_folder(path: MutableSequence[str], environ: MutableMapping[str, str]) -> None:
    """Take off `path`, sys.path of a new process, what the current folder and the environment brought into it."""
    brought = [] if sys.flags.ignore_environment else environ.get("PYTHONPATH", "").split(os.pathsep)
    unwanted = {os.path.abspath(entry) for entry in brought}  # noqa: PTH100 - "" is the current folder here
    if not sys.flags.safe_path and path:
        unwanted.add(os.path.abspath(path[0]))  # noqa: PTH100 - likewise
    path[:] = [entry for entry in path if entry.startswith(os.sep) and entry not in unwanted]
    for name in [name for name in environ if name.startswith("PYTHON")]:
        del environ[name]
