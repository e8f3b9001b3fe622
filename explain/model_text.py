"""Whether a text is a whole LightGBM model.

LightGBM does not look: of a damaged text it may abort the process, or read past the end.
"""

from __future__ import annotations

import re

_OF_LEAVES = (b"leaf_value", b"leaf_weight", b"leaf_count")
_OF_SPLITS = (
    b"split_feature", b"split_gain", b"threshold", b"decision_type", b"left_child", b"right_child",
    b"internal_value", b"internal_weight", b"internal_count",
)  # fmt: skip


def is_whole(text: bytes) -> bool:
    """Whether every tree is where the head says, has all its numbers, and hangs together.

    Measured with LightGBM 4.7 and one byte changed at random: without this, a quarter of the changes within
    trees ended the process (SIGABRT, SIGSEGV). A changed digit of a number cannot be seen here.

    Args:
        text: What `Booster.save_model` writes, lines ended by a line feed.
    """
    head, _, rest = text.partition(b"\n\n")
    sizes = re.search(rb"^tree_sizes=([\d ]*)$", head, re.MULTILINE)
    features = re.search(rb"^max_feature_idx=(\d+)$", head, re.MULTILINE)
    if sizes is None or features is None:
        return False
    place = 0
    for number, size in enumerate(map(int, sizes[1].split())):
        tree = rest[place : place + size]
        if not tree.startswith(b"Tree=%d\n" % number) or not _is_tree(tree, int(features[1])):
            return False
        place += size
    return rest[place:].lstrip(b"\n").startswith(b"end of trees")


def _is_tree(tree: bytes, last_feature: int) -> bool:
    fields = dict(line.partition(b"=")[::2] for line in tree.splitlines())
    try:
        leaves = int(fields[b"num_leaves"])
        if leaves == 1:
            return len(_numbers(fields[b"leaf_value"])) == 1
        full = all(len(_numbers(fields[name])) == leaves for name in _OF_LEAVES)
        full = full and all(len(_numbers(fields[name])) == leaves - 1 for name in _OF_SPLITS)
        children = [int(n) for side in (b"left_child", b"right_child") for n in fields[side].split()]
        inputs = [int(n) for n in fields[b"split_feature"].split()]
    except (KeyError, ValueError):
        return False
    # Leaves are -1, -2 ...; splits 1, 2 ..., since 0 is the root. Each has one parent.
    joined = sorted(children) == [*range(-leaves, 0), *range(1, leaves - 1)]
    return full and joined and all(0 <= n <= last_feature for n in inputs)


def _numbers(values: bytes) -> list[float]:
    return [float(value) for value in values.split(b" ")]
