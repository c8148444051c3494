"""What the status page shows of each study: volumes, unusual values, warnings, review, a picture and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.dicom_node.queue import FinishedCase, Queue, State, Study
from GliomaSegLib.dicom_node.storage import Storage
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.measures.unusual_volumes import unusual, volumes_by_model
from GliomaSegLib.options import ReviewState
from GliomaSegLib.results.layout import MEASURES_JSON, REPORT

SHOWN = ("WT", "TC", "ET", "RC")


@dataclass(frozen=True)
class Finding:
    """Result of one study: ``volumes`` in mL by region, sentences on what is implausible, the number of warnings."""

    model: str
    volumes: Mapping[str, float]
    implausible: tuple[str, ...]
    warnings: int
    review: str

    @property
    def reviewed(self) -> bool:
        """Whether a reader has approved or rejected the result."""
        return self.review in (ReviewState.APPROVED.value, ReviewState.REJECTED.value)


@dataclass(frozen=True)
class Row:
    """A study in the list. ``remarks``: sentences or clauses, why it needs a look; ``look``: whether it does."""

    study: Study
    finding: Finding | None
    remarks: tuple[str, ...]
    look: bool


class Findings:
    """Reads the results that are not deleted yet, and caches them until they change; thread-safe."""

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
        except Exception:  # of any kind, from a damaged result: only its row lacks the finding
            return None

    def listed(self, studies: Iterable[Study], finished: Iterable[FinishedCase]) -> list[Row]:
        """The studies that need a look first: implausible ones, failed ones, those unusual among the ``finished`` cases
        of their model, those with warnings. Then the others and the reviewed ones, in the given order."""
        usual = volumes_by_model((case.record["model"], case.record["volumes_ml"]) for case in finished)
        ranked = []
        for study in studies:
            found = self.of(study)
            remarks, score = unusual(found.volumes, usual[found.model]) if found else ((), 0.0)
            rank = (
                4 if found and found.reviewed
                else 0 if found and found.implausible
                else 1 if study.state in (State.FAILED, State.UNMATCHED)
                else 2 if remarks
                else 3 if found and found.warnings
                else 4
            )  # fmt: skip
            remarks = (*found.implausible, *remarks) if found else ()
            ranked.append((rank, -score if rank < 4 else 0, Row(study, found, remarks, rank < 4)))
        return [row for *_, row in sorted(ranked, key=lambda one: one[:2])]

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
    implausible = tuple(manifest.get("implausible", ()))
    return Finding(manifest["model"]["id"], volumes, implausible, len(manifest["warnings"]), manifest["review"])


def _drawn(folder: Path, kept: Path) -> bool:
    from GliomaSegLib.results.thumbnail import thumbnail  # slow to import, and needed only when the page is opened

    return thumbnail(folder, json.loads((folder / MANIFEST).read_bytes()), kept)
