"""Secondary captures of a series with the regions' contours burnt in, for viewers that show neither SEG nor RTSTRUCT.

As Lotan 2021 gave its results back to the PACS (on T1c and FLAIR), every slice is written again and takes the header of
its own source slice, so that it lies in place and scrolls with the rest of the study; what describes the pixels or
identifies the image is new. That it is not for diagnosis is burnt into every slice: a viewer need not show the header.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pydicom.valuerep import DSfloat
from scipy import ndimage

from GliomaSegLib import NOTICE
from GliomaSegLib.dicom_export.provenance import MANUFACTURER, Provenance
from GliomaSegLib.dicom_export.source import SourceSeries
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.results.slice_pictures import DRAWING_ORDER, WINDOW_PERCENT

SERIES_NUMBER = 904

# Slices with fewer rows or columns are enlarged by whole numbers, so that the text can be read.
_LEAST_PIXELS = 192
_TEXT_SHARE = 1 / 22  # height of the letters

# What a capture does not take from its source: what describes the source's pixels or how they are shown (whole groups),
# and what says which image it is or what belongs to it alone.
_PIXEL_GROUPS = {0x0028, 0x0088, 0x2050, 0x7FE0, *range(0x6000, 0x6020, 2)}
_OF_THE_SOURCE_ALONE = (
    *("ImageType", "InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID", "SOPClassUID"),
    *("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDescriptionCodeSequence"),
    *("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence", "ReferencedImageSequence"),
    *("RealWorldValueMappingSequence", "DigitalSignaturesSequence", "MACParametersSequence"),
    *("OriginalAttributesSequence", "ContentDate", "ContentTime", "ImageComments"),
)


@dataclass(frozen=True)
class _Painter:
    """Turns slices into RGB pictures.

    Attributes:
        window: the grey levels that become black and white.
        regions: from the largest to the smallest, each drawn over those before it.
        zoom: so many pixels of the picture per pixel of the slice, each way.
        text: burnt into every picture: which pixels it takes, and their colours.
    """

    window: tuple[float, float]
    regions: tuple[Region, ...]
    zoom: int
    text: tuple[NDArray[np.bool_], NDArray[np.uint8]]

    def paint(self, pixels: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A slice ``[row, column]`` with its internal labels as ``[row, column, RGB]``."""
        low, high = self.window
        grey = (np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
        picture = np.repeat(self._enlarged(grey)[..., None], 3, axis=-1)
        for region in self.regions:
            mask = region_mask(labels, region)
            if mask.any():
                mask = self._enlarged(mask)
                picture[mask & ~ndimage.binary_erosion(mask)] = region_styles()[region].colour
        taken, colours = self.text
        picture[taken] = colours[taken]
        return picture

    def _enlarged(self, array: NDArray) -> NDArray:
        return array.repeat(self.zoom, axis=0).repeat(self.zoom, axis=1)


def _text(
    shape: tuple[int, int], heading: Sequence[str], regions: Sequence[Region]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Text for the corners of a picture of ``shape``, where there is mostly air: the heading at the top left, at the
    bottom left the regions' names in their colours."""
    letters = max(10, round(min(shape) * _TEXT_SHARE))
    margin, line = letters // 3, ceil(1.2 * letters)
    white, bottom = (255, 255, 255), shape[0] - margin - line * len(regions)
    lines = [(margin + line * number, text, white) for number, text in enumerate(heading)]
    styles = [region_styles()[region] for region in regions]
    lines += [(bottom + line * number, style.name, style.colour) for number, style in enumerate(styles)]
    layer = Image.new("RGBA", shape[::-1])
    draw, font = ImageDraw.Draw(layer), ImageFont.load_default(letters)
    for top, text, colour in lines:
        draw.text((margin, top), text, fill=(*colour, 255), font=font, stroke_width=1, stroke_fill=(0, 0, 0, 255))
    drawn = np.asarray(layer)
    return drawn[..., 3] > 127, drawn[..., :3]


def make_overlay(
    source: SourceSeries, title: str, regions: Collection[Region], about: Provenance, number: int = SERIES_NUMBER
) -> Iterator[Dataset]:
    """One capture per slice, in the order of ``source.headers``; slices without tumour too.

    Args:
        title: of the sequence.
        regions: those that the segmentation distinguishes; only what has voxels is drawn and named.
        number: Series Number.
    """
    labels, pixels = (sitk.GetArrayViewFromImage(one) for one in (source.labels, source.image))
    held = tuple(one for one in DRAWING_ORDER if one in regions and region_mask(labels, one).any())
    nothing = () if held else ("No tumour marked",)
    zoom = max(1, ceil(_LEAST_PIXELS / min(labels.shape[1:])))
    shape = (labels.shape[1] * zoom, labels.shape[2] * zoom)
    text = _text(shape, ("NOT FOR DIAGNOSIS", about.description, *nothing), held)
    painter = _Painter(_window(source.image), held, zoom, text)
    series_uid = generate_uid()
    for index, header in enumerate(source.headers):
        capture = _capture(header, painter.paint(pixels[index], labels[index]), painter.zoom)
        capture.SeriesInstanceUID = series_uid
        capture.SeriesNumber = number
        capture.SeriesDescription = about.series(f"overlay on {title}")
        capture.InstanceNumber = index + 1
        capture.DerivationDescription = f"Contours of {about.algorithm} {about.version} by {MANUFACTURER} burnt in"
        capture.ImageComments = NOTICE
        yield source.stamp(capture)


def _window(image: sitk.Image) -> tuple[float, float]:
    """Black and white as in the report: percentiles inside the head, the same for all slices."""
    array = sitk.GetArrayViewFromImage(image)
    head = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1)) != 0
    low, high = np.percentile(array[head] if head.any() else array, WINDOW_PERCENT)
    return float(low), float(high)


def _capture(header: Dataset, picture: NDArray[np.uint8], zoom: int) -> Dataset:
    """The picture with what its source's header says of patient, study, acquisition and place."""
    capture = Dataset()
    for element in header:
        if not element.tag.is_private and element.tag.group not in _PIXEL_GROUPS:
            capture.add(element)
    for keyword in _OF_THE_SOURCE_ALONE:
        if keyword in capture:
            delattr(capture, keyword)
    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    capture.SOPClassUID = SecondaryCaptureImageStorage
    capture.SOPInstanceUID = generate_uid()
    capture.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    capture.ConversionType = "WSD"  # made by a workstation
    capture.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    capture.BodyPartExamined = header.get("BodyPartExamined") or "HEAD"  # no paired organ, so no laterality
    capture.PatientOrientation = _patient_orientation(header)
    capture.SourceImageSequence = Items([_source_image(header)])
    if header.get("LossyImageCompression") == "01":  # once lost stays lost
        capture.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in header:
                setattr(capture, keyword, header.get(keyword))
    capture.BurnedInAnnotation = header.get("BurnedInAnnotation") or "NO"  # of what identifies the patient
    _place(capture, header, zoom)
    capture.Rows, capture.Columns = picture.shape[:2]
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    capture.PixelData = picture.tobytes() + b"\0" * (picture.size % 2)
    return capture


def _source_image(header: Dataset) -> Dataset:
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = Items([purpose])
    return item


def _place(capture: Dataset, header: Dataset, zoom: int) -> None:
    """Pixels of an enlarged slice are smaller, and the centre of the first one lies nearer to the corner."""
    rows_mm, columns_mm = (float(value) / zoom for value in header.PixelSpacing)
    across, down = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
    back = (across * columns_mm + down * rows_mm) * (zoom - 1) / 2
    position = np.array(header.ImagePositionPatient, float) - back
    capture.PixelSpacing = [DSfloat(rows_mm, auto_format=True), DSfloat(columns_mm, auto_format=True)]
    capture.ImagePositionPatient = [DSfloat(value, auto_format=True) for value in position.tolist()]


def _patient_orientation(header: Dataset) -> list[str]:
    """Where rows and columns run to, by letters (PS3.3 C.7.6.1.1.1): first where most, then to which side of it."""
    letters = []
    for direction in np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3)):
        ends = [pair[int(value < 0)] for pair, value in zip(("LR", "PA", "HF"), direction, strict=True)]
        order = np.argsort(-np.abs(direction))
        letters.append("".join(ends[axis] for axis in order if abs(direction[axis]) > 0.05))
    return letters
