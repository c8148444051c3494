"""Seconds for the measures and for all DICOM objects of a large case with twenty lesions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.dicom_export.overlay import make_overlay
from GliomaSegLib.dicom_export.provenance import Provenance
from GliomaSegLib.dicom_export.report import make_report
from GliomaSegLib.dicom_export.rtstruct import make_rtstruct
from GliomaSegLib.dicom_export.seg import make_seg
from GliomaSegLib.dicom_export.source import read_source_series
from GliomaSegLib.dicom_export.structure import structures_of
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.options import ExportBy, ReviewState
from GliomaSegLib.phantom.dicom import write_series

SIZE = (155, 240, 240)  # z, y, x: a BraTS grid of 1 mm
LESIONS = 20
RUNS = 3
MEASURES = "measures"
MEASURES_LIMIT_S, OBJECTS_LIMIT_S = 2.0, 5.0


def objects() -> None:
    """Measures and DICOM objects of 240x240x155 voxels with 20 lesions, least of three, against limits of 2 and 5 s.

    Processor time of this process stands beside wall-clock time: on a machine that does other work it is the fairer.
    """
    labels = lesion_labels()
    runs = [_once(labels) for _ in range(RUNS)]
    names = list(runs[0])
    wall, processor = ({name: min(run[name][which] for run in runs) for name in names} for which in (0, 1))
    for name in names:
        print(f"{name:<24} {wall[name]:6.2f} s, processor {processor[name]:6.2f} s")
    rest = [name for name in names if name != MEASURES]
    for what, parts, limit_s in ((MEASURES, [MEASURES], MEASURES_LIMIT_S), ("all objects", rest, OBJECTS_LIMIT_S)):
        used = sum(wall[name] for name in parts), sum(processor[name] for name in parts)
        print(f"{what}: {used[0]:.2f} s, processor {used[1]:.2f} s; the limit is {limit_s:g} s")


def lesion_labels() -> sitk.Image:
    """Twenty metastases of 3 to 15 mm radius with a necrotic centre and edema around them, apart from one another."""
    random = np.random.default_rng(1)
    array, grid = np.zeros(SIZE, np.uint8), np.indices(SIZE, dtype=np.float32)
    cells = [(z, y, x) for z in (40, 110) for y in (60, 115, 170) for x in (50, 95, 140, 185)]
    for centre, radius in zip(cells[:LESIONS], np.linspace(3, 15, LESIONS), strict=True):
        place = np.add(centre, random.uniform(-2, 2, 3)).reshape(3, 1, 1, 1)
        distance = np.sqrt(((grid - place) ** 2).sum(axis=0)) * random.uniform(0.95, 1.05)
        array[(distance < radius + 4) & (array == 0)] = Label.SNFH
        array[distance < radius] = Label.ET
        array[distance < radius / 2] = Label.NETC
    image = sitk.GetImageFromArray(array)
    image.SetOrigin((-120.0, -120.0, -60.0))
    return image


def _once(labels: sitk.Image) -> dict[str, tuple[float, float]]:
    """Wall-clock and processor seconds of each part."""
    seconds: dict[str, tuple[float, float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.perf_counter(), time.process_time()
        yield
        seconds[name] = time.perf_counter() - began[0], time.process_time() - began[1]

    about = Provenance("a-model", "1", "0", False, ReviewState.DRAFT, "", None, TimePoint(TimePointKind.PREOPERATIVE))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        noise = np.random.default_rng(0).integers(50, 400, SIZE).astype(np.uint16)
        scan = sitk.GetImageFromArray(noise)
        scan.CopyInformation(labels)
        write_series(scan, Modality.T1C, folder / "series", "bench")
        with timed(MEASURES):
            measures = measure(labels)
        with timed("reading the series"):
            source = read_source_series(folder / "series", labels)
        with timed("structures"):
            lesions = structures_of(labels, measures, tuple(Region), ExportBy.LESIONS, source.first.SeriesInstanceUID)
        assert len(lesions) == LESIONS
        with timed("SEG"):
            seg = make_seg(source, lesions, about)
            seg.save_as(folder / "seg.dcm")
        with timed("SR"):
            make_report(source, seg, lesions, about).save_as(folder / "sr.dcm")
        with timed("RTSTRUCT"):
            make_rtstruct(source, lesions, about).save_as(folder / "rtstruct.dcm", enforce_file_format=True)
        with timed("overlay on one sequence"):
            for index, capture in enumerate(make_overlay(source, "T1 + contrast", tuple(Region), about)):
                capture.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return seconds
