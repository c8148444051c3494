"""A case of a batch, and whether it is done. The folders of results are the only state of a batch.

A case is done if its folder of results exists (it is written completely or not at all) and its manifest has the same
job, made with the installed weights of its model from the images that are there. Standard library only.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from GliomaSegLib.case import Modality, Source
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.io.folder import MANIFEST, own_manifest, work_by_hand
from GliomaSegLib.io.provenance import state_of, timestamp
from GliomaSegLib.results.layout import MEASURES_JSON
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.places import default_store
from GliomaSegLib.zoo.store import Store

SUMMARY, PAGE, PRIVATE = "summary.csv", "batch.html", ".gliomaseg-batch"
"""What a batch writes besides the folders of results; the last is a folder with failures, logs and pictures."""

DEFAULTS: Mapping[str, Any] = {
    "model": "auto", "time_point": "unknown", "purpose": "volume", "registration": True, "brain": "deepbet", "seed": 1,
    "precision": "auto", "identity": True, "probabilities": True, "label_scheme": "gliomaseg",
}  # fmt: skip
"""The defaults of a :class:`~GliomaSegLib.job.Job` that are neither false nor empty."""

# Fields of a job that do not change the result.
_NOT_OF_THE_ANSWER = frozenset({"do", "output", "overwrite", "device", "threads", "store"})


@dataclass(frozen=True)
class BatchCase:
    """One case.

    Attributes:
        name: its name in the results; the name of its folder is :func:`folder_name` of it.
        job: a :class:`~GliomaSegLib.job.Job` as JSON, or those of its fields that are not defaults.
        where: the line of the table, or the folder, that defines it, for messages.
        patient: the patient; may be empty.
        refused: a sentence why it cannot be run; then ``job`` may have no other field than ``output``.
    """

    name: str
    job: Mapping[str, Any]
    where: str
    patient: str = ""
    refused: str | None = None

    @property
    def output(self) -> Path:
        """The folder of its results."""
        return Path(self.job["output"])

    @property
    def key(self) -> str:
        """A hash of the fields on which the result depends."""
        return hashlib.sha256(json.dumps(_of_the_answer(self.job), sort_keys=True).encode()).hexdigest()

    def but_refused(self, sentence: str) -> BatchCase:
        """The same case, refused with ``sentence`` unless it is refused already."""
        return self if self.refused else dataclasses.replace(self, refused=sentence)


_LONGEST_NAME = 128
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
)


def folder_name(name: str) -> str:
    """Convert a name to one that is legal for a folder on every system; empty if no legal character is left.

    Windows reserves the names of devices, also before a dot. A very long name is truncated and ends in a part of its
    hash to stay unique: file systems allow 255 bytes, and Windows limits the whole path.
    """
    legal = re.sub(r"[^\w.-]+", "_", name).strip("._")
    stem, dot, rest = legal.partition(".")
    if stem.casefold() in _WINDOWS_DEVICES:
        legal = f"{stem}_{dot}{rest}"
    if len(legal) > _LONGEST_NAME:
        legal = f"{legal[: _LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return legal


def case_of_study(study: Path, output: Path, options: Mapping[str, Any]) -> BatchCase:
    """The case of a study folder, with a folder of results of its own in ``output``."""
    job = {**options, "study": str(study), "output": str(output / (folder_name(study.name) or "case"))}
    return BatchCase(study.name, job, str(study))


def one_of_each(cases: Sequence[BatchCase]) -> list[BatchCase]:
    """The same cases, of which those that conflict with another are refused.

    Of identical cases the later ones are refused. Different cases with one name are all refused, since it is not known
    which is meant; so are cases that share images, as studies of one patient seem to be mixed up.
    """
    checked = list(cases)
    first: dict[tuple[str, str], int] = {}
    for index, case in enumerate(checked):
        if case.refused:
            continue
        before = first.setdefault((case.output.name.casefold(), case.key), index)
        if before != index:
            checked[index] = case.but_refused(
                f"{case.where} repeats the case '{case.name}' of {checked[before].where}; take one of them out."
            )
    used = Counter(case.output.name.casefold() for case in checked if not case.refused)
    named = [_with_a_name_of_its_own(case, used) for case in checked]
    users: dict[tuple[str, str], list[BatchCase]] = defaultdict(list)
    for case in named:
        for image in () if case.refused else _images(case):
            users[image].append(case)
    return [_with_images_of_its_own(case, users) for case in named]


def _with_a_name_of_its_own(case: BatchCase, used: Mapping[str, int]) -> BatchCase:
    count = used.get(case.output.name.casefold(), 0)
    if count < 2:
        return case
    return case.but_refused(
        f"{case.where}: {count} different cases would be written to '{case.output.name}'; give every case a name of "
        "its own."
    )


def _with_images_of_its_own(case: BatchCase, users: Mapping[tuple[str, str], Sequence[BatchCase]]) -> BatchCase:
    """Refuse a case that shares images with another one of the same model."""
    for image in _images(case):
        if other := next((one for one in users.get(image, ()) if one is not case), None):
            return case.but_refused(
                f"{case.where}: {image[1]} is also of the case '{other.name}'; an image belongs to one study, so check "
                "which of them it is."
            )
    return case


def _images(case: BatchCase) -> list[tuple[str, str]]:
    """The model with each path of the case; of a study with several exams, with the exam."""
    study, exam = case.job.get("study"), case.job.get("exam")
    named = [f"exam '{exam}' of {study}" if study and exam else study, *case.job.get("volumes", {}).values()]
    return [(str(case.job.get("model")), str(path)) for path in named if path]


# --- the state of a case ---------------------------------------------------------------------------------------------


def is_done(case: BatchCase) -> bool:
    """Whether its results exist and are of the same job, weights and images."""
    manifest = own_manifest(case.output)
    return bool(manifest) and not _differences(manifest, case)


def blocking_reason(case: BatchCase, overwrite: bool) -> str | None:
    """Why a case that is not done cannot be written to its output folder; ``None`` if it can.

    Args:
        overwrite: whether results of another job may be replaced; edited or reviewed ones never are.
    """
    output, manifest = case.output, own_manifest(case.output)
    if not manifest:
        if not output.exists() or (output.is_dir() and not any(output.iterdir())):
            return None
        return f"{output} is in the way and no folder of GliomaSeg results; move it away or name another output."
    if by_hand := work_by_hand(output):
        return by_hand
    if not overwrite:
        differ = ", ".join(_differences(manifest, case))
        return f"{output} holds the results of another job ({differ} differ); say '--overwrite' to replace them."
    return None


def request_of(case: BatchCase) -> dict[str, Any]:
    """The request for a worker; an existing output folder was checked by :func:`blocking_reason` and is replaced."""
    return {**case.job, "overwrite": case.output.exists()}


def damaged(case: BatchCase, error: Exception) -> str:
    """The sentence for results that cannot be read."""
    return f"The results in {case.output} are damaged ({error}); delete the folder and run the case again."


def stored_result(folder: Path) -> dict[str, Any]:
    """A :class:`~GliomaSegLib.results.job_result.JobResult` as JSON, read back from its folder, without its ``files``.

    Raises:
        OSError, ValueError: it is no folder of results, or damaged.
    """
    manifest = json.loads((folder / MANIFEST).read_bytes())
    measures = json.loads((folder / MEASURES_JSON).read_bytes())
    return {
        "case_id": manifest["case_id"], "model": manifest["model"]["id"], "output": str(folder), "measures": measures,
        "missing": manifest.get("missing", []), "cost": manifest.get("cost"),
        "warnings": manifest.get("warnings", []), "seconds": manifest.get("seconds", {}),
        "review": manifest.get("review", "draft"), "reviews": manifest.get("reviews", []),
    }  # fmt: skip


def _differences(manifest: Mapping[str, Any], case: BatchCase) -> list[str]:
    """In what a manifest differs from the case: fields of its job (those of later versions, which it lacks, are
    ignored), the model's weights, images."""
    made_by, asked = _of_the_answer(manifest.get("job") or {"no job": True}), _of_the_answer(case.job)
    fields = [name for name, value in asked.items() if made_by.get(name, value) != value]
    unsaid = made_by.keys() - asked.keys() - {"case_id"}
    fields += sorted(name for name in unsaid if made_by[name] != DEFAULTS.get(name, made_by[name] and None))
    return fields or [*_other_weights(manifest["model"], case.job.get("store")), *_other_images(manifest)]


def _other_weights(used: Mapping[str, Any], place: str | None) -> list[str]:
    store = Store(Path(place) if place else default_store())
    try:
        known = store.weights_sha256(find_card(used["id"], store.root))
    except (GliomaSegError, OSError):  # gone; a run says so
        return []
    return [] if used.get("weights_sha256") in (None, known) else ["its model's weights"]


def _other_images(manifest: Mapping[str, Any]) -> list[str]:
    """The images that have other pixels than when they were segmented; only those whose files have changed are read."""
    other: list[str] = []
    state_now = functools.cache(state_of)  # the series of a study may have one folder of thousands of files
    made = datetime.fromisoformat(manifest.get("created") or timestamp()).timestamp()
    for name, record in manifest["sequences"].items():
        path = Path(record["path"])
        if record.get("pixels_sha256") and path.exists() and _changed(path, record.get("files_state"), made, state_now):
            from GliomaSegLib.io.voxels import pixels_sha256  # what is written anew is rare, and reading it is slow
            from GliomaSegLib.study.reading import read_source

            source = Source(path, record["series_uid"], record.get("series_part", ""))
            try:
                same = pixels_sha256(read_source(source).image) == record["pixels_sha256"]
            except InputError:  # another series is there now
                same = False
            if not same:
                other.append(f"its {Modality(name).title} image")
    return other


def _changed(path: Path, state: str | None, made: float, state_now: Callable[[Path], str]) -> bool:
    """Whether files seem to be others than those that were read; for results without their state, since ``made``."""
    return state != state_now(path) if state else max(path.stat().st_mtime, path.stat().st_ctime) > made


def _of_the_answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job on which the result depends, as after a round trip through JSON."""
    asked = {name: value for name, value in job.items() if name not in _NOT_OF_THE_ANSWER}
    return json.loads(json.dumps(asked, default=str))  # str: of paths
