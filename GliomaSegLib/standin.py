"""A stand-in for the worker where its packages are not installed: for self-tests, never for a patient.

``python -m GliomaSegLib.standin -`` hears and says what :mod:`GliomaSegLib.worker.server` does, with NumPy and
SimpleITK alone. Reading, registration and files are real; instead of a network it marks what is bright on FLAIR (or
T1 + contrast) deep inside the head, with a core that is no finding at all. Everything that it makes says so.
"""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from GliomaSegLib import NOTICE
from GliomaSegLib.case import Case, Modality, SequenceVolume, Source
from GliomaSegLib.cli.main import INTERRUPTED, cancel_when_terminated, results_only_on_stdout
from GliomaSegLib.errors import Cancelled, InputError
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, check_output, written_whole
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.provenance import sha256_of, timestamp
from GliomaSegLib.io.segnrrd import read_segmentation, write_segmentation
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.preprocessing.registration import Registration, align_case, given_transforms
from GliomaSegLib.preprocessing.resampling import resample_image
from GliomaSegLib.progress import Progress, ProgressRecorder
from GliomaSegLib.study.identification import assign_names
from GliomaSegLib.worker.server import JsonLines, serve

STAND_IN = "This is a stand-in that marks something bright, not a tumour: the packages of the networks are missing."
SUFFIX = " (stand-in)"

# As the worker names them.
FILES = {
    "label_map": "segmentation.nii.gz", "slicer_segmentation": "segmentation.seg.nrrd", "brain": "brain.nii.gz",
    "probability_WT": "probability_WT.nii.gz", "measures_json": "measures.json", "measures_csv": "measures.csv",
    "report": "report.html", "manifest": MANIFEST,
}  # fmt: skip
_PAGE = "comparison.html"
_DEEP = 0.25  # share of the head's depth that is skull and scalp, which are bright too
_SIDE_MM = 5.0


def main() -> int:
    """Serve the requests on standard input until it ends; returns the exit status."""
    cancel_when_terminated()
    try:
        with results_only_on_stdout() as output:
            asked = ((lambda line=line: json.loads(line)) for line in sys.stdin if line.strip())
            return int(bool(serve(asked, answer, JsonLines(output))))
    except Cancelled:
        return INTERRUPTED


def answer(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What the worker would answer, see :mod:`GliomaSegLib.worker.server`."""
    do = request.get("do", "segment")
    if do == "segment":
        return _segment(request, ProgressRecorder(progress))
    if do == "install":
        progress.stage("install")
        return {"model": request["model"]}
    if do == "review":
        return _revise(
            Path(request["output"]), {"state": request["state"], "by": request["by"]}, ProgressRecorder(progress)
        )
    if do == "measure":
        return _revise(Path(request["output"]), None, ProgressRecorder(progress))
    if do == "compare":
        return _compare(request, ProgressRecorder(progress))
    raise InputError(f"The stand-in cannot '{do}'; ask it to segment, measure, review, compare or install.")


def _segment(job: Mapping[str, Any], journal: ProgressRecorder) -> dict[str, Any]:
    output = Path(job["output"]).absolute()
    check_output(output, job.get("overwrite", False))
    journal.stage("reading")
    journal.warn(STAND_IN)
    case = _read(job)
    given = given_transforms({Modality(name): Path(path) for name, path in job.get("transforms", {}).items()}, case)
    journal.stage("registration")
    found = align_case(case, journal, given, job.get("registration", True))
    journal.stage("segmentation")
    shown = next(one for one in (Modality.T2F, Modality.T1C, *case.present) if one in case.volumes)
    transform = found[shown].transform if shown in found else None
    head, labels, probability = _mark(resample_image(case.volumes[shown].image, case.reference.image, transform))
    journal.stage("measures and report")
    manifest = {
        "program": PROGRAM, "stand_in": True, "case_id": case.identifier, "model": {"id": job.get("model", "auto")},
        "time_point": job.get("time_point", "unknown"), "days_since_surgery": job.get("days_since_surgery"),
        "job": dict(job), "sequences": {one.value: _record(case, one, found) for one in case.present},
        "review": "draft", "reviews": [], "created": timestamp(),
    }  # fmt: skip
    with written_whole(output, job.get("overwrite", False)) as folder:
        for sequence, registration in found.items():
            if registration.transform:
                (folder / "transforms").mkdir(exist_ok=True)
                sitk.WriteTransform(registration.transform, str(folder / "transforms" / f"{sequence.value}.tfm"))
        sitk.WriteImage(probability, str(folder / FILES["probability_WT"]), useCompression=True)
        return _write(folder, output, labels, head, manifest, journal)


def _revise(output: Path, said: Mapping[str, str] | None, journal: ProgressRecorder) -> dict[str, Any]:
    """After an edit of the ``.seg.nrrd``, or when a reviewer has ``said`` a state."""
    journal.stage("measures and report")
    manifest = _manifest(output)
    head = sitk.ReadImage(str(output / FILES["brain"]))
    labels = read_segmentation(output / FILES["slicer_segmentation"], head)
    before = sitk.GetArrayFromImage(sitk.ReadImage(str(output / FILES["label_map"])))
    events = [{"state": "edited", "by": None}] if (sitk.GetArrayViewFromImage(labels) != before).any() else []
    for event in events + ([dict(said)] if said else []):
        manifest["reviews"].append(event | {"when": timestamp()})
        manifest["review"] = event["state"]
    journal.warnings[:0] = manifest["warnings"]
    with written_whole(output.absolute(), overwrite=True) as folder:
        shutil.copytree(output, folder, dirs_exist_ok=True)
        return _write(folder, output.absolute(), labels, head, manifest, journal)


def _compare(request: Mapping[str, Any], journal: ProgressRecorder) -> dict[str, Any]:
    """The volumes of the studies side by side; no lesion is followed and nothing is registered."""
    output = Path(request["output"]).absolute()
    check_output(output, overwrite=False)
    journal.stage("reading")
    journal.warn(STAND_IN)
    studies = [_compared_study(one) for one in request["studies"]]
    volumes = [next(row["volume_ml"] for row in one["volumes"] if row["name"] == "WT") for one in studies]
    comparison = {
        "studies": studies, "region": Region.WT.value, "resection": None, "responses": [], "baseline": None,
        "course": {"region": Region.WT.value, "tracks": [], "steps": []}, "notes": [], "warnings": [STAND_IN],
        "answers": [f"The stand-in marked {volumes[-1]:.1f} mL, and {volumes[0]:.1f} mL in the earlier study."],
    }  # fmt: skip
    with written_whole(output) as folder:
        page = f"<!DOCTYPE html><meta charset='utf-8'><p>{STAND_IN} {NOTICE}<p>{comparison['answers'][0]}\n"
        (folder / _PAGE).write_text(page, encoding="utf-8")
        (folder / "comparison.json").write_text(json.dumps(comparison, indent=2) + "\n", encoding="utf-8")
        (folder / MANIFEST).write_text(json.dumps({"program": PROGRAM, "kind": "comparison"}), encoding="utf-8")
    return {"page": str(output / _PAGE), "comparison": comparison}


def _compared_study(study: Mapping[str, Any]) -> dict[str, Any]:
    path, said = Path(study["path"]), {}
    if path.is_dir():
        said, head = _manifest(path), sitk.ReadImage(str(path / FILES["brain"]))
        labels = read_segmentation(path / FILES["slicer_segmentation"], head)
    else:
        labels = sitk.ReadImage(str(path), sitk.sitkUInt8)
        head = labels >= 0
    days = study.get("days_since_surgery")
    return {
        "name": said.get("case_id", path.name.partition(".")[0]), "path": str(path), "origin": "stand-in",
        "kind": study.get("time_point") or said.get("time_point", "unknown"),
        "days_since_surgery": said.get("days_since_surgery") if days is None else days, "date": None, "day": None,
        "volumes": _measures(labels, head)["volumes"], "foci": 0,
    }  # fmt: skip


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not a folder of GliomaSeg results: it has no {MANIFEST}.") from error


def _read(job: Mapping[str, Any]) -> Case:
    files = {Modality(name): Path(path) for name, path in job.get("volumes", {}).items()}
    if not files:
        there = {str(path): path.name for path in sorted(Path(job["study"]).rglob("*.n*")) if path.is_file()}
        files = {sequence: Path(one.id) for sequence, one in assign_names(there).items()}
    volumes = {}
    for sequence, path in files.items():
        try:
            image = sitk.ReadImage(str(path), sitk.sitkFloat32)
        except RuntimeError as error:
            raise InputError(f"{path} cannot be read as an image; give NIfTI or NRRD.") from error
        volumes[sequence] = SequenceVolume(sequence, image, Source(path), 1.0, "given", path.name)
    return Case(job.get("case_id") or Path(job["output"]).name, volumes)


def _mark(image: sitk.Image) -> tuple[sitk.Image, sitk.Image, sitk.Image]:
    """The head, labels, and what the labels of WT are where it is at least half (0..255)."""
    head = sitk.BinaryFillhole(_largest(sitk.OtsuThreshold(image, 0, 1)))
    depth = sitk.GetArrayFromImage(_depth(head))
    inside = depth > _DEEP * depth.max()
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, 2.0))
    usual, brightest = np.median(smooth[inside]), smooth[inside].max()
    if not brightest > usual:
        raise InputError("The image has no contrast inside the head; give another one.")
    share = np.where(inside, np.clip((smooth - usual) / (brightest - usual), 0, 1), 0)
    whole = _largest(array_on((share >= 0.5).astype(np.uint8), image))
    depth = sitk.GetArrayFromImage(_depth(whole))
    labels = np.where(sitk.GetArrayViewFromImage(whole) > 0, np.uint8(Label.SNFH), np.uint8(Label.BACKGROUND))
    labels[depth > depth.max() / 2] = Label.ET
    labels[depth > depth.max() * 3 / 4] = Label.NETC
    return head, array_on(labels, image), array_on(np.round(255 * share).astype(np.uint8), image)


def _largest(mask: sitk.Image) -> sitk.Image:
    return sitk.Cast(sitk.RelabelComponent(sitk.ConnectedComponent(mask)) == 1, sitk.sitkUInt8)


def _depth(mask: sitk.Image) -> sitk.Image:
    return sitk.SignedMaurerDistanceMap(mask, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)


def _write(
    folder: Path,
    output: Path,
    labels: sitk.Image,
    head: sitk.Image,
    manifest: dict[str, Any],
    journal: ProgressRecorder,
) -> dict[str, Any]:
    sitk.WriteImage(labels, str(folder / FILES["label_map"]), useCompression=True)
    sitk.WriteImage(head, str(folder / FILES["brain"]), useCompression=True)
    segmentation = folder / FILES["slicer_segmentation"]
    write_segmentation(labels, segmentation)
    _rename_segments(segmentation)
    measures = _measures(labels, head)
    (folder / FILES["measures_json"]).write_text(json.dumps(measures, indent=2) + "\n", encoding="utf-8")
    with (folder / FILES["measures_csv"]).open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=["name", "volume_ml"], extrasaction="ignore")
        table.writeheader()
        table.writerows(measures["volumes"])
    rows = "".join(f"<tr><td>{row['name']}<td>{row['volume_ml']:.2f} mL" for row in measures["volumes"])
    (folder / FILES["report"]).write_text(
        f"<!DOCTYPE html><meta charset='utf-8'><title>Stand-in</title><h1>{html.escape(manifest['case_id'])}</h1>"
        f"<p><b>{STAND_IN} {NOTICE}</b><p>Review: {manifest['review']}<table>{rows}</table>\n",
        encoding="utf-8",
    )
    manifest |= {
        "warnings": list(dict.fromkeys(journal.warnings)),
        "seconds": manifest.get("seconds") or journal.seconds,
        "sha256": {name: sha256_of(folder / name) for name in (FILES["label_map"], FILES["slicer_segmentation"])},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return {
        "case_id": manifest["case_id"], "model": manifest["model"]["id"], "output": str(output),
        "files": {key: str(output / name) for key, name in FILES.items()}, "measures": measures,
        "missing": [one.value for one in Modality if one.value not in manifest["sequences"]], "cost": None,
        "choice": None, "training": None,
        "warnings": manifest["warnings"], "seconds": manifest["seconds"],
        "review": manifest["review"], "reviews": manifest["reviews"],
    }  # fmt: skip


def _rename_segments(path: Path) -> None:
    image = sitk.ReadImage(str(path))
    for key in image.GetMetaDataKeys():
        if re.fullmatch(r"Segment\d+_Name", key):
            image.SetMetaData(key, image.GetMetaData(key) + SUFFIX)
    sitk.WriteImage(image, str(path), useCompression=True)


def _measures(labels: sitk.Image, head: sitk.Image) -> dict[str, Any]:
    """As :class:`~GliomaSegLib.measures.volumes.Measures`, but diameters are those of the box around a lesion."""
    array, voxel_ml = sitk.GetArrayViewFromImage(labels), float(np.prod(labels.GetSpacing())) / 1000
    head_voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(head)))
    masks = {region.value: region_mask(array, region) for region in Region}
    masks |= {label.name: array == label for label in (Label.NETC, Label.SNFH)}
    counts = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    lesions = [
        lesion
        for region in (Region.WT, Region.TC, Region.ET)
        for lesion in _lesions(array_on(masks[region.value].astype(np.uint8), labels), region, head, voxel_ml)
    ]
    return {
        "volumes": [
            {"name": name, "voxels": count, "volume_ml": count * voxel_ml, "brain_ratio": count / head_voxels}
            for name, count in counts.items()
        ],
        "lesions": lesions, "brain_ml": head_voxels * voxel_ml, "midline_from": "brain mask", "plane": "axial",
        "slice_axis": 2,
    }  # fmt: skip


def _lesions(mask: sitk.Image, region: Region, head: sitk.Image, voxel_ml: float) -> list[dict[str, Any]]:
    shape, middle = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.RelabelComponent(sitk.ConnectedComponent(mask)))
    middle.Execute(head)
    found = []
    for label in shape.GetLabels():
        x, y, z = shape.GetCentroid(label)
        off = x - middle.GetCentroid(1)[0]  # LPS: positive is the patient's left
        size = shape.GetBoundingBox(label)[3:5]
        box = sorted((n * step for n, step in zip(size, mask.GetSpacing()[:2], strict=True)), reverse=True)
        voxels = shape.GetNumberOfPixels(label)
        found.append({
            "region": region.value, "id": label, "voxels": voxels, "volume_ml": voxels * voxel_ml,
            "long_mm": box[0], "perpendicular_mm": box[1], "slice": mask.TransformPhysicalPointToIndex((x, y, z))[2],
            "slice_ras_mm": z, "centre_ras_mm": (-x, -y, z),
            "side": "midline" if abs(off) < _SIDE_MM else "left" if off > 0 else "right",
        })  # fmt: skip
    return found


def _record(case: Case, sequence: Modality, found: Mapping[Modality, Registration]) -> dict[str, Any]:
    volume = case.volumes[sequence]
    return {
        "path": str(volume.source.path.absolute()), "series_uid": None, "series_part": "", "name": volume.name,
        "confidence": volume.confidence, "reason": volume.reason, "is_reference": volume is case.reference,
        "moved_mm": found[sequence].shift_mm if sequence in found else None,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
