"""What the status page shows of finished studies: volumes, the number of warnings, review, a picture and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.dicom_node.queue import Queue, Study
from GliomaSegLib.dicom_node.storage import Storage
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.results.layout import MEASURES_JSON, REPORT

SHOWN = ("WT", "TC", "ET", "RC")


@dataclass(frozen=True)
class Finding:
    """Of one study: mL by region, warnings, and the state of the review."""

    volumes: Mapping[str, float]
    warnings: int
    review: str


class Findings:
    """Reads results that are still kept, each once until it changes; to be used from any thread."""

    def __init__(self, storage: Storage, queue: Queue) -> None:
        self._storage, self._queue = storage, queue
        self._read: dict[tuple[Path, int], Finding] = {}

    def of(self, study: Study) -> Finding | None:
        """``None`` where there are no results, or none that can be read."""
        folder = self._storage.results(study.key, study.revision)
        try:
            version = (folder, (folder / MANIFEST).stat().st_mtime_ns)
            if version not in self._read:
                self._read[version] = _finding(folder)
            return self._read[version]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def file(self, name: str) -> tuple[str, bytes] | None:
        """``KEY.html``, the report of a study, or ``KEY.jpg``, its picture: content type and content."""
        key, _, kind = name.partition(".")
        study = next((one for one in self._queue.studies() if one.key == key), None)
        if study is None or self.of(study) is None:
            return None
        folder = self._storage.results(study.key, study.revision)
        kept = folder.with_name(f"picture-{study.revision}.jpg")
        try:
            if kind == "html":
                return "text/html; charset=utf-8", (folder / REPORT).read_bytes()
            return ("image/jpeg", kept.read_bytes()) if kind == "jpg" and _drawn(folder, kept) else None
        except OSError:  # deleted meanwhile, to make room
            return None


def _finding(folder: Path) -> Finding:
    manifest, measures = (json.loads((folder / name).read_bytes()) for name in (MANIFEST, MEASURES_JSON))
    volumes = {one["name"]: float(one["volume_ml"]) for one in measures["volumes"] if one["name"] in SHOWN}
    return Finding(volumes, len(manifest["warnings"]), manifest["review"])


def _drawn(folder: Path, kept: Path) -> bool:
    from GliomaSegLib.results.thumbnail import thumbnail  # heavy, and a node may have no reader

    return thumbnail(folder, json.loads((folder / MANIFEST).read_bytes()), kept)
