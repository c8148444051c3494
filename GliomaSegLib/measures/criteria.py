"""The criteria of response to treatment (RANO, RANO-BM) as data: their limits and publications.

RANO 2010: Wen, J Clin Oncol 28:1963. RANO 2.0: Wen 2023, J Clin Oncol 41:5187. RANO-BM: Lin 2015, Lancet Oncol 16:e270.
Volumetric limits: Ellingson 2017, Neurotherapeutics 14:307.
"""

from __future__ import annotations

from enum import Enum

from GliomaSegLib.measures.lesion_size import FollowedLesion, reaches
from GliomaSegLib.options import Tumour
from GliomaSegLib.record import Record

# RANO leaves to the reader what 'clear' progression of a non-measurable or non-target lesion is, and what a
# 'significant' increase of the T2/FLAIR abnormality. These limits are this program's: a lesion that was not followed
# has become measurable, has grown as a target in progression would have, and by so many mm or mL; the abnormality has
# grown by the volumetric limit of RANO 2.0 for non-enhancing tumour (Wen 2023), and by more than its outline is
# uncertain.
NONTARGET_RISE_MM, NONTARGET_RISE_ML = 5.0, 1.0
FLAIR_RISE, FLAIR_RISE_ML = 0.40, 5.0

# The volume of a rim around a cavity can be followed, though its diameters cannot, when it fills a cube of 10 mm.
MEASURABLE_RIM_ML = 1.0


class Quantity(str, Enum):
    """What is summed over the target lesions."""

    PRODUCT = "product of perpendicular diameters"
    VOLUME = "volume"
    DIAMETER = "longest diameter"


class Criteria(Record):
    """The limits of one set of criteria.

    Attributes:
        partial_fall: at least this share less than at baseline is a partial response.
        progression_rise: at least this share more than the smallest value since baseline is progression.
        least_rise_mm: if not 0, progression also needs one target that has grown by this many mm.
        least_mm, least_perpendicular_mm: least diameters of a measurable lesion; on slices thicker than
            ``thick_slices_mm`` also twice the slice thickness.
        least_slices: number of slices on which a measurable lesion is seen at least.
        targets: number of lesions that are followed at most, the largest.
        new_measurable: whether a new lesion must be measurable to count as progression.
        asks_for_flair: whether the T2/FLAIR abnormality is judged.
    """

    name: str
    citation: str
    quantity: Quantity
    partial_fall: float
    progression_rise: float
    targets: int
    new_measurable: bool
    least_rise_mm: float = 0.0
    least_mm: float = 10.0
    least_perpendicular_mm: float = 10.0
    thick_slices_mm: float = 5.0
    least_slices: int = 2
    asks_for_flair: bool = False

    def is_measurable(self, lesion: FollowedLesion, slice_mm: float) -> bool:
        """Whether a lesion may be followed; ``slice_mm`` is the distance between axial slices."""
        if lesion.is_solid is False:
            return self.quantity is Quantity.VOLUME and lesion.volume_ml >= MEASURABLE_RIM_ML
        thick = 2 * slice_mm if slice_mm > self.thick_slices_mm else 0.0
        return (
            reaches(lesion.long_mm, max(self.least_mm, thick))
            and reaches(lesion.perpendicular_mm, max(self.least_perpendicular_mm, thick))
            and (lesion.slices or 0) >= self.least_slices
        )

    def size(self, lesion: FollowedLesion) -> float:
        """The lesion's part of the sum: mm², mL or mm."""
        if self.quantity is Quantity.VOLUME:
            return lesion.volume_ml
        return lesion.long_mm * (lesion.perpendicular_mm if self.quantity is Quantity.PRODUCT else 1)


RANO_2010 = Criteria(
    name="RANO 2010",
    citation="Wen et al., J Clin Oncol 2010;28:1963",
    quantity=Quantity.PRODUCT,
    partial_fall=0.5,
    progression_rise=0.25,
    targets=5,
    new_measurable=False,
    asks_for_flair=True,
)
# The volumetric limits are those of the spheres whose products of diameters change by -50 % and +25 %: 0.5^1.5 = 0.35,
# 1.25^1.5 = 1.40. They stand in the modified criteria of 2017 (Ellingson, Neurotherapeutics 14:307) and in RANO 2.0,
# which both no longer judge the T2/FLAIR abnormality of enhancing tumours.
_WEN_2023 = "Wen et al., J Clin Oncol 2023;41:5187"
RANO_2_0 = Criteria(
    name="RANO 2.0",
    citation=_WEN_2023,
    quantity=Quantity.PRODUCT,
    partial_fall=0.5,
    progression_rise=0.25,
    targets=2,
    new_measurable=True,
)
RANO_2_0_VOLUME = Criteria(
    name="RANO 2.0, volumetric",
    citation=f"{_WEN_2023}; Ellingson et al., Neurotherapeutics 2017;14:307",
    quantity=Quantity.VOLUME,
    partial_fall=0.65,
    progression_rise=0.40,
    targets=2,
    new_measurable=True,
)
RANO_BM = Criteria(
    name="RANO-BM",
    citation="Lin et al., Lancet Oncol 2015;16:e270",
    quantity=Quantity.DIAMETER,
    partial_fall=0.30,
    progression_rise=0.20,
    targets=5,
    new_measurable=False,
    least_rise_mm=5.0,
    least_perpendicular_mm=5.0,
)
CRITERIA: dict[Tumour, tuple[Criteria, ...]] = {
    Tumour.GLIOMA: (RANO_2010, RANO_2_0, RANO_2_0_VOLUME),
    Tumour.METASTASIS: (RANO_BM,),
    Tumour.OTHER: (),
}
"""The criteria by which response of a tumour is judged."""
