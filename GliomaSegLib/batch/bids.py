"""Exports folders of results as a BIDS derivatives dataset: label maps, probabilities, brain masks and tables.

Names follow BIDS 1.10 (Gorgolewski 2016, doi:10.1038/sdata.2016.44): ``sub-1/ses-2/anat/
sub-1_ses-2_space-orig_desc-gliomaseg_dseg.nii.gz``. Labels are 1 NETC, 2 SNFH, 3 ET, 4 RC, on the grid of the reference
image; probabilities ``float32`` from 0 to 1.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from GliomaSegLib import NOTICE
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, written_whole
from GliomaSegLib.io.images import write_image
from GliomaSegLib.io.terminology import hex_colour, segment_styles
from GliomaSegLib.results.layout import MEASURES_JSON
from GliomaSegLib.results.reading import StoredResult, read_probabilities, read_result

BIDS_VERSION = "1.10.0"
VOLUMES = ("WT", "TC", "ET", "NETC", "SNFH", "RC")
_DESCRIBED = "space-orig_desc-gliomaseg"
_ENTITIES = re.compile(r"sub-([a-zA-Z0-9]+)(?:_ses-([a-zA-Z0-9]+))?")
_COLUMNS = {
    "participant_id": {"Description": "The participant."},
    "session_id": {"Description": "The session."},
    "model": {"Description": "The id of the model that segmented the images."},
    "review": {"Description": "The state of the review: draft, edited, approved or rejected."},
    **{f"{name}_ml": {"Description": f"Volume of {name}.", "Units": "mL"} for name in VOLUMES},
}


def write_derivatives(results: Mapping[str, Path], output: Path, overwrite: bool = False) -> Path:
    """Write folders of results as a derivatives dataset, completely or not at all.

    Args:
        results: folder of results by the name of the case; a name such as ``sub-1_ses-2`` gives subject and session,
            of other names the letters and digits are the subject.

    Returns:
        the folder.

    Raises:
        InputError: there is no case, two have the same BIDS name, or a folder cannot be read or written.
    """
    named = {_entities(name): folder for name, folder in results.items()}
    if len(named) < len(results) or not results:
        raise InputError(
            "There is no finished case to write as BIDS."
            if not results
            else "Two cases have one name once it holds letters and digits alone, as BIDS asks; rename one of them."
        )
    with written_whole(output, overwrite) as folder:
        rows = [_write_case(folder, *entities, read_result(source)) for entities, source in named.items()]
        _write_tables(folder, rows)
        _write_json(folder / "dataset_description.json", _description())
        (folder / "README").write_text(f"Tumour segmentations by GliomaSeg. {NOTICE}\n", encoding="utf-8")
        (folder / ".bidsignore").write_text(f"{MANIFEST}\n", encoding="utf-8")
        _write_json(folder / MANIFEST, {"program": PROGRAM, "kind": "bids"})
    return output


def _entities(name: str) -> tuple[str, str]:
    """Subject and session of a case; the latter may be empty."""
    if found := _ENTITIES.fullmatch(name):
        return found[1], found[2] or ""
    subject = re.sub(r"[^a-zA-Z0-9]", "", name)
    if not subject:
        raise InputError(f"The case '{name}' has no letter or digit, of which BIDS makes its name; rename it.")
    return subject, ""


def _write_case(root: Path, subject: str, session: str, result: StoredResult) -> dict[str, Any]:
    """Write the files of one case; returns its row of the table."""
    names = [f"sub-{subject}", *([f"ses-{session}"] if session else [])]
    folder = root.joinpath(*names, "anat")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = result.manifest
    about = {
        "SpatialReference": "orig",
        "Description": f"Segmented on {manifest.reference.title} by {manifest.model.id} {manifest.model.version}.",
        "Sequences": [modality.value for modality in manifest.sequences],
        "Regions": [region.value for region in manifest.regions],
        "ReviewState": manifest.review.value,
        "Warnings": list(manifest.warnings),
    }

    def write(image: sitk.Image, ending: str, **further: Any) -> None:
        path = folder / f"{'_'.join(names)}_{ending}"
        write_image(image, path.with_name(f"{path.name}.nii.gz"))
        _write_json(path.with_name(f"{path.name}.json"), about | further)

    write(result.labels, f"{_DESCRIBED}_dseg")
    write(result.brain, "space-orig_label-brain_desc-gliomaseg_mask", Type="Brain")
    for region, probability in read_probabilities(result.folder, result.labels).items():
        write(probability, f"space-orig_label-{region.value}_desc-gliomaseg_probseg")
    measured = json.loads((result.folder / MEASURES_JSON).read_bytes())["volumes"]
    volumes = {volume["name"]: volume["volume_ml"] for volume in measured}
    return {
        "participant_id": names[0],
        "session_id": names[1] if session else "",
        "model": manifest.model.id,
        "review": manifest.review.value,
        **{f"{name}_ml": volumes.get(name) for name in VOLUMES},
    }


def _write_tables(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the volumes by participant, or by session if there are sessions, and the table of labels."""
    columns = [name for name in _COLUMNS if name not in ("participant_id", "session_id")]
    sessions = any(row["session_id"] for row in rows)
    people = list(dict.fromkeys(row["participant_id"] for row in rows))
    if sessions:
        alone = {row["participant_id"]: row for row in rows if not row["session_id"]}
        people_rows = [alone.get(one, dict.fromkeys(columns) | {"participant_id": one}) for one in people]
        _write_tsv(root / "participants.tsv", ["participant_id", *(columns if alone else ())], people_rows)
        for one in people:
            own = [row for row in rows if row["participant_id"] == one and row["session_id"]]
            if own:
                _write_tsv(root / one / f"{one}_sessions.tsv", ["session_id", *columns], own)
    else:
        _write_tsv(root / "participants.tsv", ["participant_id", *columns], rows)
    labels = [
        {"index": int(label), "name": style.name, "abbreviation": label.name, "color": hex_colour(label)}
        for label, style in segment_styles().items()
    ]
    _write_tsv(root / "desc-gliomaseg_dseg.tsv", list(labels[0]), labels)


def _write_tsv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table and its data dictionary; unknown values are ``n/a``."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(columns)
        table.writerows([["n/a" if row[one] in (None, "") else row[one] for one in columns] for row in rows])
    described = {name: _COLUMNS[name] for name in columns if name in _COLUMNS}
    if described:
        _write_json(path.with_suffix(".json"), described)


def _description() -> dict[str, Any]:
    try:
        program = {"Name": PROGRAM, "Version": version(PROGRAM)}
    except PackageNotFoundError:  # a source checkout has no version of its own
        program = {"Name": PROGRAM}
    return {
        "Name": "GliomaSeg tumour segmentations",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [program],
        "HowToAcknowledge": NOTICE,
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
