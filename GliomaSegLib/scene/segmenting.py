"""Segments volumes of the scene, or a study on disk, whose images are then loaded with the result."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import slicer

from GliomaSegLib.case import Modality, check_one_study, reference_of
from GliomaSegLib.errors import InputError
from GliomaSegLib.scene.dicom import case_name, files_of, identity_of
from GliomaSegLib.scene.earlier_study import export_tumour
from GliomaSegLib.scene.keeping import has_files
from GliomaSegLib.scene.measuring import up_to_date
from GliomaSegLib.scene.placement import RunTransforms, Volumes, given_files, register_volumes
from GliomaSegLib.scene.registration import BrainsFit
from GliomaSegLib.scene.result import add_result, read_manifest, stored_result
from GliomaSegLib.scene.run import Steps, in_thread
from GliomaSegLib.scene.session import INPUTS, Session, make_folder
from GliomaSegLib.scene.study import read_image, show_image
from GliomaSegLib.scene.volumes import check_one_patient, check_volume, exporting
from GliomaSegLib.worker.client import Event
from GliomaSegLib.zoo.catalogue import cards_of


@dataclass(frozen=True)
class Inputs:
    """Volumes to segment, checked by :func:`check_inputs`.

    Attributes:
        transforms: given by the user: a node, or the path of an ITK file.
        preoperative: segmentation of the study before surgery, and the volume that it was drawn on.
    """

    volumes: Volumes
    transforms: Mapping[Modality, slicer.vtkMRMLTransformNode | Path | str]
    preoperative: tuple[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLScalarVolumeNode | None] | None


def check_inputs(
    volumes: Volumes,
    transforms: Mapping[Modality | str, slicer.vtkMRMLTransformNode | Path | str],
    preoperative: slicer.vtkMRMLSegmentationNode | None,
    preoperative_volume: slicer.vtkMRMLScalarVolumeNode | None,
) -> Inputs:
    """Check and collect the inputs of a segmentation.

    Raises:
        InputError: a volume or transform cannot be used, or there is no volume.
    """
    if not volumes:
        raise InputError("No volume was chosen; choose at least one of T1, T1 + contrast, T2 and FLAIR.")
    for node in volumes.values():
        check_volume(node)
    check_one_patient(volumes)
    check_one_study(map(identity_of, volumes.values()))
    given = {Modality(sequence): one for sequence, one in transforms.items()}
    for sequence in given.keys() - volumes.keys():
        raise InputError(f"A transform was given for {sequence.title}, but no such volume; choose the volume too.")
    if preoperative is None:
        return Inputs(volumes, given, None)
    check_earlier(preoperative, preoperative_volume)
    return Inputs(volumes, given, (preoperative, preoperative_volume))


def check_earlier(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Refuse an earlier study whose image is not known.

    Raises:
        InputError: it is no result with its files, and ``volume`` is missing or no image.
    """
    if has_files(segmentation):
        return
    if volume is None:
        raise InputError(
            f"'{segmentation.GetName()}' is no result with its files; choose also the volume that it was drawn on."
        )
    check_volume(volume)


def segment_steps(
    session: Session,
    inputs: Inputs,
    model: str,
    output: Path | None,
    registrar: BrainsFit | None,
    options: Mapping[str, Any],
) -> Steps:
    """Steps that export the volumes, have the worker segment them and show the result. They return a
    :class:`~GliomaSegLib.scene.result.SegmentationResult`; nothing is left behind when they fail."""
    volumes = inputs.volumes
    with ExitStack() as undo:
        used = _used_by(model, options.get("store"), volumes)
        reference = volumes[reference_of(used)]
        identified = options.get("identity", True)
        case_id = options.get("case_id") or (identified and case_name(reference)) or reference.GetName()
        case = session.new_case_folder(case_id, undo)
        folder = make_folder(case / INPUTS)
        yield Event("stage", "export")
        yield None  # so that the panel is drawn before the first piece of work
        paths = {}
        for sequence, node in volumes.items():
            paths[sequence] = folder / f"{sequence.value}.nrrd"
            yield from in_thread(exporting(node, paths[sequence]))
        dicom = {sequence.value: list(map(str, files_of(volumes[sequence]))) for sequence in used if identified}
        before = {}
        if inputs.preoperative is not None and has_files(inputs.preoperative[0]):
            before = {"preoperative": str((yield from up_to_date(session, inputs.preoperative[0])))}
        elif inputs.preoperative is not None:
            before = export_tumour(*inputs.preoperative, make_folder(case / "earlier"))
            yield None
        nodes = {s: one for s, one in inputs.transforms.items() if isinstance(one, slicer.vtkMRMLTransformNode)}
        placed = RunTransforms(given=nodes)
        files = given_files(inputs.transforms, volumes, folder)
        if registrar is not None and options.get("registration", True):
            moving = {s: volumes[s] for s in used if volumes[s] is not reference and s not in inputs.transforms}
            files |= yield from register_volumes(session, registrar, moving, reference, folder, placed, undo)
        job = {
            **options,
            **before,
            "volumes": {sequence.value: str(path) for sequence, path in paths.items()},
            "transforms": {sequence.value: str(path) for sequence, path in files.items()},
            "dicom": {sequence: paths for sequence, paths in dicom.items() if paths},
            "model": model,
            "output": str(output or case / "results"),
            "case_id": case_id,
        }
        result = yield from session.request(job, reference)
        yield Event("stage", "scene")
        added = yield from add_result(session, result, volumes, placed, undo)
        undo.pop_all()  # complete: nothing is undone
    return added


def study_steps(session: Session, study: Path, model: str, output: Path | None, options: Mapping[str, Any]) -> Steps:
    """As :func:`segment_steps`, for a study on disk, whose images are loaded afterwards."""
    with ExitStack() as undo:
        if output is None:
            output = session.new_case_folder(options.get("case_id") or study.name, undo) / "results"
        before = options.get("preoperative")
        if isinstance(before, slicer.vtkMRMLSegmentationNode):
            before = str((yield from up_to_date(session, before)))
        job = {**options, "study": str(study), "model": model, "output": str(output), "preoperative": before}
        result = yield from session.request(job)
        added = yield from _loaded(session, result, undo)
        undo.pop_all()
    return added


def open_steps(session: Session, output: Path) -> Steps:
    """Steps that load a folder of results and its images; they return a
    :class:`~GliomaSegLib.scene.result.SegmentationResult`."""
    with ExitStack() as undo:
        added = yield from _loaded(session, stored_result(output), undo)
        undo.pop_all()
    return added


def _loaded(session: Session, result: Mapping[str, Any], undo: ExitStack) -> Steps:
    """Steps that load the images of a result, and then the result."""
    yield Event("stage", "scene")
    volumes = {}
    for name, record in read_manifest(result)["sequences"].items():
        sequence = Modality(name)
        title = f"{result['case_id']} {sequence.title}"
        try:
            image = yield from in_thread(partial(read_image, record, title))
        except InputError as error:
            yield Event("warning", str(error))
            continue
        volumes[sequence] = show_image(session.scene, image, title)
        undo.callback(session.remove_node, volumes[sequence])
        yield None
    return (yield from add_result(session, result, volumes, RunTransforms(), undo))


def _used_by(model: str, store: Path | str | None, volumes: Volumes) -> list[Modality]:
    """The modalities of ``volumes`` that the model uses; all if it uses none of them, which the worker refuses."""
    card = cards_of(Path(store) if store else None).get(model)
    takes = card.inputs.sequences if card else tuple(Modality)
    return [sequence for sequence in volumes if sequence in takes] or list(volumes)
