"""Trees of files as nested dicts: made from one, read back as one, so that an expected tree is one `==`.

A dict is a folder, bytes are a plain file's content, a PurePath is a symlink and where it points.
"""

from __future__ import annotations

from pathlib import Path, PurePath

Tree = dict[str, "Tree | bytes | PurePath"]


def make(root: Path, tree: Tree) -> Path:
    """Make the tree below `root`, which is made too where it is missing; gives `root` back."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = root / name
        if isinstance(content, dict):
            make(path, content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.symlink_to(content)
    return root


def read(root: Path) -> Tree:
    """What stands below `root`; sortd's own folder is left out."""
    tree: Tree = {}
    for path in root.iterdir():
        if path.is_symlink():
            tree[path.name] = PurePath(path.readlink())
        elif path.is_dir():
            if path.name != ".sortd":
                tree[path.name] = read(path)
        else:
            tree[path.name] = path.read_bytes()
    return tree
