"""Find where the catalog is not what the lake says: it is a mirror, and can be made again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, select

from catalog import batches as mirror
from catalog import dataset_manifest
from catalog.database import opened_database, transaction
from catalog.datasets import mirrored_datasets
from catalog.findings import Finding
from catalog.models import FeatureBatch, MirrorCursor
from lake.commit_log import commits_after, versions
from lake.errors import CatalogUnavailableError, DamagedTableError, SettingsError
from lake.log_archive import archive_gaps
from lake.table import Lake

_MIRROR_PATIENCE_S = 1.0
_UNDER_WAY_COMMITS = 3  # a writer mirrors after each commit; what is further behind is not under way


def examine_catalog(lake: Lake, url: str) -> Iterator[Finding]:
    """Whether the catalog is what logs and manifests say."""
    try:
        with opened_database(url) as engine:
            for name, path in lake.tables().items():
                yield from compare_mirror(engine, lake, name, path)
            yield from _compare_datasets(lake, engine)
    except (CatalogUnavailableError, SettingsError) as error:
        yield Finding("catalog_unavailable", "catalog", "database", str(error))


def compare_mirror(engine: Engine, lake: Lake, name: str, path: Path) -> Iterator[Finding]:
    """Whether the catalog has the batches of one table's log, no more and no less."""
    newest = max(versions(path), default=-1)
    at = _mirrored_through(engine, name, newest)
    query = select(FeatureBatch.table_version, FeatureBatch.parquet_path, FeatureBatch.checksum)
    query = query.where(FeatureBatch.table_name == name, FeatureBatch.table_version <= at)
    with transaction(engine) as connection:
        extra = {(version, file): checksum for version, file, checksum in connection.execute(query)}
    if newest > at:
        told = f"{newest - at:,} commits are not mirrored"
        yield Finding("catalog_behind", name, f"version {at}", told, "mirror them")
    elif max(versions(path), default=-1) < at:
        told = f"the catalog has mirrored version {at}, the log ends at {newest}"
        yield Finding("catalog_differs", name, f"version {at}", told, "rebuild the mirror")
        return
    if archive_gaps(path, before=min(versions(path), default=0)):
        return  # named by the table: the mirror knows more than the log, and cannot be made again
    missing = 0
    try:
        for commit in commits_after(path, -1):
            if commit.version > at:
                break
            for file, checksum in mirror.files_of(lake, path, commit):
                kept = extra.pop((commit.version, file), None)
                # Of commits of other tools no checksum is recorded: the mirror has what it found then.
                missing += kept is None or (checksum is not None and kept != checksum)
    except DamagedTableError:
        return  # named by the table
    if extra or missing:
        yield Finding(
            "catalog_differs", name, "ml_feature_batches",
            f"{len(extra):,} batches are not in the log, {missing:,} of it not (so) in the catalog",
            "rebuild the mirror",
        )  # fmt: skip


def _mirrored_through(engine: Engine, name: str, newest: int) -> int:
    """The mirror's version; a running writer gets a moment to mirror what it has just committed."""
    deadline = time.monotonic() + _MIRROR_PATIENCE_S
    query = select(MirrorCursor.table_version).where(MirrorCursor.table_name == name)
    while True:
        with transaction(engine) as connection:
            found = connection.execute(query).scalar_one_or_none()
        at = -1 if found is None else found
        under_way = at < newest <= at + _UNDER_WAY_COMMITS
        if not under_way or time.monotonic() > deadline:
            return at
        time.sleep(0.05)


def _compare_datasets(lake: Lake, engine: Engine) -> Iterator[Finding]:
    with transaction(engine) as connection:
        known = mirrored_datasets(connection)
    present = {}
    for name in dataset_manifest.names(lake):
        try:
            dataset = dataset_manifest.read(lake, name)
            dataset.batches()
            present[name] = dataset.manifest_sha256
        except DamagedTableError as error:
            yield Finding("dataset_unreadable", name, "manifest", str(error))
            known.pop(name, None)
    for name in sorted(known.keys() | present.keys()):
        if known.get(name) != present.get(name):
            told = {
                (True, False): "the catalog knows it, the lake does not",
                (False, True): "the lake has it, the catalog does not know it",
                (True, True): "its manifest is not the one that the catalog knows",
            }[name in known, name in present]
            yield Finding("dataset_unmirrored", name, "manifest", told, "take what the lake says")
