"""A segmentation in memory: labels, probabilities, transforms, co-registered images, measures and warnings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import affine_of
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.assessment import CaseAssessment
from GliomaSegLib.measures.volumes import Measures, Volume
from GliomaSegLib.results.layout import AGREEMENT
from GliomaSegLib.results.manifest import ModelUsed
from GliomaSegLib.results.reading import assess_stored, read_original, read_probabilities, read_result, read_transforms

Key = TypeVar("Key", Region, Modality)


class OnDemand(Mapping[Key, sitk.Image]):
    """A mapping whose images are made at the first access and then kept."""

    def __init__(self, keys: Collection[Key], make: Callable[[Key], sitk.Image]) -> None:
        self._made: dict[Key, sitk.Image | None] = dict.fromkeys(keys)
        self._make: Callable[[Key], sitk.Image] = make

    def __getitem__(self, key: Key) -> sitk.Image:
        image = self._made[key]
        if image is None:
            image = self._made[key] = self._make(key)
        return image

    def __iter__(self) -> Iterator[Key]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


@dataclass(frozen=True)
class Result:
    """A segmented case. All images are on the original grid of the reference image.

    Images are :class:`SimpleITK.Image` (LPS mm); :func:`to_array` converts one to an array ``[x, y, z]`` with the
    :attr:`affine`.

    Attributes:
        case_id: name of the case.
        model: ID, version, licence, weights and device of the model.
        regions: those that the model segments with the modalities of the case; others are not known.
        reference: the modality of the reference image.
        labels: ``uint8``, 1 NETC, 2 SNFH, 3 ET, 4 RC.
        brain: mask, ``uint8``.
        transforms: from the reference image to each modality that had to be moved (LPS mm).
        assessed: the measures, and after surgery the residual tumour.
        probabilities: per region (``result.probabilities["WT"]``) ``float32`` in 0..1, resampled from the network's
            grid at the first access; of a loaded result the stored ones.
        stored_probabilities: those that are written, 0..1 as 0..255 (``uint8``).
        images: per modality (``result.images["t1c"]``) ``float32``, registered and resampled to the reference image
            at the first access; of a loaded result the files are read again.
        agreement: of the members of an ensemble, ``uint8`` in per cent.
        choice: why this model was chosen, if none was named.
        missing: modalities that the model uses and the case lacks.
        cost: sentence on the loss of accuracy by these.
        warnings: sentences for the reader.
        seconds: duration of each stage.
    """

    case_id: str
    model: ModelUsed
    regions: tuple[Region, ...]
    reference: Modality
    labels: sitk.Image = field(repr=False)
    brain: sitk.Image = field(repr=False)
    transforms: Mapping[Modality, sitk.Transform] = field(repr=False)
    assessed: CaseAssessment = field(repr=False)
    probabilities: Mapping[Region, sitk.Image] = field(repr=False)
    images: Mapping[Modality, sitk.Image] = field(repr=False)
    stored_probabilities: Mapping[Region, sitk.Image] = field(default_factory=dict, repr=False)
    agreement: sitk.Image | None = field(default=None, repr=False)
    choice: str | None = None
    missing: tuple[Modality, ...] = ()
    cost: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | str) -> Result:
        """Read a folder of results of the command line, a batch, the panel or :func:`GliomaSegLib.run`.

        Raises:
            InputError: it is no folder of results, is damaged, or was edited and not measured since.
        """
        stored = read_result(Path(folder))
        manifest, transforms = stored.manifest, read_transforms(stored.folder)
        maps = read_probabilities(stored.folder, stored.labels)
        return cls(
            case_id=manifest.case_id,
            model=manifest.model,
            regions=manifest.regions,
            reference=manifest.reference,
            labels=stored.labels,
            brain=stored.brain,
            transforms=transforms,
            assessed=assess_stored(manifest, stored.labels, stored.brain, maps),
            probabilities=maps,
            images=OnDemand(
                manifest.sequences,
                lambda one: read_original(manifest.sequences[one], stored.labels, transforms.get(one)).image,
            ),
            agreement=read_labels(agreement) if (agreement := stored.folder / AGREEMENT).is_file() else None,
            choice=manifest.choice,
            missing=manifest.missing,
            cost=manifest.cost,
            warnings=manifest.warnings,
            seconds=manifest.seconds,
        )

    @property
    def measures(self) -> Measures:
        """Volumes in mL, and volume, diameters (mm) and position of every lesion."""
        return self.assessed.measures

    @property
    def affine(self) -> NDArray[np.float64]:
        """4 x 4 from voxel indices (x, y, z) to RAS mm, as in nibabel."""
        return affine_of(self.labels)

    def volume(self, name: str) -> Volume:
        """The volume of a region or label (WT, TC, ET, RC, NETC, SNFH): ``result.volume("WT").ml``.

        Raises:
            InputError: the model does not segment it.
        """
        if found := self.measures.volume(name):
            return found
        given = ", ".join(volume.name for volume in self.measures.volumes)
        raise InputError(f"There is no volume called '{name}' in the result of '{self.model.id}'; it has {given}.")


def to_array(image: sitk.Image) -> NDArray:
    """The voxels of an image as an array ``[x, y, z]``, as in nibabel."""
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)
