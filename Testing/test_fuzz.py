"""Malformed files of every kind that is read: only sentences (``GliomaSegError``) come out, in bounded memory and time.

Each example is a sound file with bytes changed, cut out, doubled or put elsewhere, found by Hypothesis. A child process
would be needed to survive a crash of a decoder; a crash here ends the test run, and so is noticed too.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import read_splits, read_table
from GliomaSegLib.errors import GliomaSegError
from GliomaSegLib.evaluation.residual import evaluate_table
from GliomaSegLib.io.dicom import read_folder
from GliomaSegLib.io.dicom_volume import read_series, series_problem
from GliomaSegLib.io.images import geometry_doubts, read_geometry, read_image, read_labels
from GliomaSegLib.io.segnrrd import read_segmentation, write_segmentation
from GliomaSegLib.io.transforms import read_rigid
from GliomaSegLib.job import parse_request
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.phantom.dicom import write_series
from GliomaSegLib.zoo.archive import unpack
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.catalogue import all_cards
from Testing.support.study import toy_labels, volume

EXAMPLES = 40
MEMORY_BYTES = 1 << 30  # that a reader may take beyond what the process has already

QUICK = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip

# Where (of a thousand), how, and with which bytes.
CHANGE = st.tuples(
    st.integers(0, 999), st.sampled_from(["put", "cut", "double", "end", "digit"]), st.binary(min_size=1, max_size=8)
)
CHANGES = st.lists(CHANGE, min_size=1, max_size=5)


def changed(content: bytes, changes: list[tuple[int, str, bytes]], header: int | None = None) -> bytes:
    """``content`` with changes in its first ``header`` bytes."""
    found = bytearray(content)
    for where, how, what in changes:
        length = min(header or len(found), len(found))
        place = where * length // 1000
        if how == "put":
            found[place : place + len(what)] = what
        elif how == "cut":
            del found[place : place + len(what)]
        elif how == "double":
            found[place:place] = found[place : place + 8 * len(what)]
        elif how == "end":
            del found[place:]
        else:  # numbers in text headers are where the sizes are
            digits = [at for at in range(length) if 48 <= found[at] <= 57]
            if digits:
                at = digits[where * len(digits) // 1000]
                found[at : at + 1] = str(int.from_bytes(what, "big")).encode()
    return bytes(found)


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """A size in a header must not decide how much memory is taken."""
    if sys.platform != "linux":
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(read: Callable[[], object]) -> None:
    """Whatever is read or refused; anything but a sentence fails the test."""
    with contextlib.suppress(GliomaSegError):
        read()


def image_bytes(folder: Path, name: str, compressed: bool = False) -> bytes:
    sitk.WriteImage(volume(Modality.T1C), str(folder / name), useCompression=compressed)
    return (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "header"),
    [("a.nii", 352), ("a.nii.gz", None), ("a.nrrd", 400), ("a.mha", 400), ("a.img", None)],
)
def test_image_files(tmp_path: Path, name: str, header: int | None) -> None:
    sound = image_bytes(tmp_path, name)
    if name.endswith(".img"):
        sound = (tmp_path / "a.hdr").read_bytes()
    target = tmp_path / ("a.hdr" if name.endswith(".img") else name)

    @QUICK
    @given(CHANGES)
    def read(changes: list[tuple[int, str, bytes]]) -> None:
        target.write_bytes(changed(sound, changes, header))
        for reader in (read_image, read_labels, read_geometry, geometry_doubts):
            attempt(lambda reader=reader: reader(tmp_path / name))

    read()


def test_a_size_that_the_file_does_not_hold_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    for name, old, new in (
        ("a.nrrd", b"sizes: 32 36 20", b"sizes: 9200 9600 9000"),
        ("a.mha", b"DimSize = 32 36 20", b"DimSize = 9200 9600 9000"),
    ):
        content = image_bytes(tmp_path, name)
        assert old in content
        (tmp_path / name).write_bytes(content.replace(old, new))
        with pytest.raises(GliomaSegError, match=f"{name} is damaged or cut short"):
            read_image(tmp_path / name)


def test_dicom_folders(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    write_series(sitk.Cast(volume(Modality.T1C)[:, :, 5:9], sitk.sitkUInt16), Modality.T1C, folder, "fuzz")
    path = sorted(folder.rglob("*.dcm"))[1]
    sound = path.read_bytes()

    @QUICK
    @given(CHANGES)
    def read(changes: list[tuple[int, str, bytes]]) -> None:
        path.write_bytes(changed(sound, changes, 1600))
        found = read_folder(folder)
        assert sum(len(one.slices) for one in found.series) + sum(one.files for one in found.passed_over) >= 4
        for series in found.series:
            series_problem(series)
            attempt(lambda series=series: read_series(series))

    read()


def test_segmentations_of_slicer(tmp_path: Path) -> None:
    labels = sitk.GetImageFromArray(toy_labels())
    write_segmentation(labels, tmp_path / "a.seg.nrrd")
    sound = (tmp_path / "a.seg.nrrd").read_bytes()

    @QUICK
    @given(CHANGES)
    def read(changes: list[tuple[int, str, bytes]]) -> None:
        (tmp_path / "b.seg.nrrd").write_bytes(changed(sound, changes, sound.index(b"\n\n")))
        attempt(lambda: read_segmentation(tmp_path / "b.seg.nrrd"))

    read()


TEXTS: dict[str, tuple[Callable[[Path], bytes], Callable[[Path], object]]] = {
    "card.json": (lambda _: card_text(next(iter(all_cards().values()))).encode(), read_card),
    "cases.csv": (
        lambda _: b"case,patient,t1c,t2f,truth,scheme\na,p,a.nii.gz,b.nii.gz,c.nii.gz,gliomaseg\n",
        read_table,
    ),
    "residual.csv": (
        lambda _: b"case,prediction,reference,fold\na,p.nii.gz,r.nii.gz,1\n",
        lambda path: evaluate_table(path, LabelScheme.GLIOMASEG, LabelScheme.GLIOMASEG),
    ),
    "splits.json": (lambda _: b'{"train": ["a", "b"], "test": ["c"]}', read_splits),
    "job.json": (
        lambda _: json.dumps({"do": "segment", "study": "/a", "output": "/b", "seed": 3, "brain": "deepbet"}).encode(),
        lambda path: parse_request(path.read_bytes(), str(path)),
    ),
    "move.tfm": (
        lambda folder: (
            sitk.WriteTransform(sitk.Euler3DTransform(), str(folder / "t.tfm")) or (folder / "t.tfm").read_bytes()
        ),
        read_rigid,
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_files(tmp_path: Path, name: str) -> None:
    make, reader = TEXTS[name]
    sound = make(tmp_path)

    @QUICK
    @given(CHANGES)
    @example([(500, "put", b"\xff\xfe\x00")])
    def read(changes: list[tuple[int, str, bytes]]) -> None:
        (tmp_path / name).write_bytes(changed(sound, changes))
        attempt(lambda: reader(tmp_path / name))

    read()


def archived(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model/weights.bin", bytes(4000))
            archive.writestr("model/card.json", "{}")
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, content in (("model/weights.bin", bytes(4000)), ("model/card.json", b"{}")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives(tmp_path: Path, kind: str) -> None:
    sound = archived(kind)

    @QUICK
    @given(CHANGES)
    def read(changes: list[tuple[int, str, bytes]]) -> None:
        (tmp_path / "archive").write_bytes(changed(sound, changes))
        folder = tmp_path / "inside"
        shutil.rmtree(folder, ignore_errors=True)
        attempt(lambda: unpack(tmp_path / "archive", kind, folder))
        assert {path.name for path in tmp_path.iterdir()} <= {"archive", "inside"}, (
            "nothing is written beside the folder"
        )

    read()


def test_the_changes_do_change_something() -> None:
    content = bytes(range(256)) * 4
    for how in ("put", "cut", "double", "end", "digit"):
        assert changed(content, [(300, how, b"\xaa\xbb")]) != content
    assert np.frombuffer(changed(content, [(0, "end", b"x")]), np.uint8).size == 0
