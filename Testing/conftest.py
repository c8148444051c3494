"""Fixtures and makers of small files that several tests share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from GliomaSegLib.phantom import Phantom, make_phantom
from GliomaSegLib.pipeline.prediction import forget_models
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import checked_card
from GliomaSegLib.zoo.loaders import FAMILIES, Family
from GliomaSegLib.zoo.store import Store
from Testing.support import toy

if TYPE_CHECKING:
    from Testing.support.scene_host import SceneHost

pytest_plugins = ["Testing.support.skips"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and weights, which is not part of the repository."""
    folder = Path(os.environ.get("GLIOMASEG_SHARED", Path(__file__).parents[1].parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data in {folder}; set GLIOMASEG_SHARED")
    return folder


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """A node that runs in the tests' own process makes what it writes private, and what comes after it as well."""
    mask = os.umask(0o077)
    os.umask(mask)
    yield
    os.umask(mask)


@pytest.fixture
def random_image() -> sitk.Image:
    """A small oblique anisotropic ``float32`` volume of noise."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(100, 20, (6, 9, 8)).astype(np.float32))
    image.SetSpacing((0.9, 1.1, 4.0))
    image.SetOrigin((-31.0, 12.5, 7.0))
    image.SetDirection(Rotation.from_euler("xyz", (0.1, -0.2, 0.3)).as_matrix().ravel().tolist())
    return image


@pytest.fixture
def host() -> Iterator[SceneHost]:
    """A 3D Slicer scene; its tests skip where slicer-core is not installed."""
    from Testing.support.scene_host import SceneHost

    host = SceneHost()
    yield host
    host.close()


DicomWriter = Callable[..., Path]


@pytest.fixture
def write_series(tmp_path: Path) -> DicomWriter:
    """Writes an array ``[z, y, x]`` of int16 as single-frame MR files; see the inner function's arguments."""

    def write(
        array: np.ndarray,
        folder: str = "dicom",
        direction: np.ndarray | None = None,
        origin_mm: tuple[float, float, float] = (-40.0, -30.0, 10.0),
        spacing_mm: tuple[float, float, float] = (0.8, 1.2, 5.0),
        leave_out: tuple[int, ...] = (),
        names: Iterator[str] | None = None,
        uid: str | None = None,
        **elements: object,
    ) -> Path:
        """``elements`` are further DICOM keywords; ``None`` removes one. Returns the folder."""
        axes = np.eye(3) if direction is None else direction
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        series_uid = uid or generate_uid()
        for index in set(range(len(array))) - set(leave_out):
            dataset = _slice(array[index], series_uid)
            dataset.InstanceNumber = index + 1
            dataset.PixelSpacing = [spacing_mm[1], spacing_mm[0]]
            dataset.ImagePositionPatient = list(np.round(np.array(origin_mm) + axes[:, 2] * spacing_mm[2] * index, 6))
            dataset.ImageOrientationPatient = list(np.round([*axes[:, 0], *axes[:, 1]], 8))
            for keyword, value in elements.items():
                setattr(dataset, keyword, value)
            dataset.save_as(target / (next(names) if names else f"{generate_uid()}.dcm"))
        return target

    return write


def _slice(pixels: np.ndarray, series_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series_uid, "1.2.3"
    dataset.Modality, dataset.PatientID, dataset.StudyDate = "MR", "P1", "20200102"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = pixels.astype("<i2").tobytes()
    return dataset


@pytest.fixture(scope="session")
def toy_card() -> Card:
    """The card of the thresholding model in :mod:`Testing.support.toy`."""
    file = {
        "name": toy.PUBLISHED_FILE,
        "url": "http://localhost/thresholds.txt",
        "size_bytes": len(TOY_WEIGHTS),
        "sha256": hashlib.sha256(TOY_WEIGHTS).hexdigest(),
    }
    return checked_card(
        {
            "id": "toy",
            "title": "Thresholds",
            "version": "1",
            "summary": "Calls tumour what is bright on FLAIR.",
            "task": "preoperative-glioma",
            "time_points": ["preoperative"],
            "inputs": {"sequences": ["t2f", "t1c"], "regions_without": {"t1c": ["WT"]}},
            "space": {"spacing_mm": [3, 3, 3], "brain": "stripped"},
            "network": {"family": "toy"},
            "regions": ["WT", "TC", "ET"],
            "thresholdable": ["WT"],
            "weights": {"files": [file], "licence": "CC0-1.0", "attribution": "none"},
            "licence": "CC0-1.0",
            "citation": "none",
            "status": "unproven",
        }
    )


TOY_WEIGHTS = b"545 560 900\n"


@pytest.fixture
def toy_files(tmp_path: Path) -> Path:
    """A folder with the toy model's published file."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / toy.PUBLISHED_FILE).write_bytes(TOY_WEIGHTS)
    return folder


@pytest.fixture
def toy_zoo(monkeypatch: pytest.MonkeyPatch, toy_card: Card) -> Card:
    """Makes the toy model part of the zoo."""
    monkeypatch.setattr(catalogue, "all_cards", lambda: {toy_card.id: toy_card})
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    forget_models()
    return toy_card


@pytest.fixture
def toy_store(toy_zoo: Card, toy_files: Path, tmp_path: Path) -> Store:
    """A store in which the toy model is installed."""
    store = Store(tmp_path / "models")
    store.install(toy_zoo, toy_files)
    return store


@pytest.fixture(scope="session")
def small_phantom() -> Phantom:
    """A phantom of 3 mm voxels, made in about a second."""
    return make_phantom(spacing_mm=3.0)
