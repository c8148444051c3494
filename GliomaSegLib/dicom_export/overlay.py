"""Secondary captures of a series with the regions' contours burnt in, for viewers that show neither SEG nor RTSTRUCT.

As in Lotan 2021 (on T1c and FLAIR), every slice is written with the header of its source slice, so that it has the same
position and scrolls with the study; attributes that describe the pixels or identify the image are new. 'Not for
diagnosis' is burnt into every slice, as viewers may not show the header.
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

# Slices with fewer rows or columns are enlarged by an integer factor, so that the text is readable.
_LEAST_PIXELS = 192
_TEXT_SHARE = 1 / 22  # letter height as a fraction of the shorter side

# Not copied from the source: groups that describe its pixels or their display, and attributes that identify it or apply
# to it alone.
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
        window: the grey values of black and white.
        regions: from the largest to the smallest, each drawn over those before it.
        zoom: pixels of the picture per pixel of the slice, along each axis.
        text: mask of the text that is burnt into every picture, and its colours.
    """

    window: tuple[float, float]
    regions: tuple[Region, ...]
    zoom: int
    text: tuple[NDArray[np.bool_], NDArray[np.uint8]]

    def paint(self, pixels: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draw a slice ``[row, column]`` with its internal labels as ``[row, column, RGB]``."""
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
    """Mask and colours of the text in the corners of a picture, where there is mostly air: the heading at the top left,
    the names of the regions in their colours at the bottom left."""
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
    """Make one capture per slice, also without tumour, in the order of ``source.headers``.

    Args:
        title: of the modality.
        regions: those that the segmentation distinguishes; only those with voxels are drawn and named.
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
        capture.SourceImageSequence = Items([_source_image(source.reference(index))])
        capture.SeriesInstanceUID = series_uid
        capture.SeriesNumber = number
        capture.SeriesDescription = about.series(f"overlay on {title}")
        capture.InstanceNumber = index + 1
        capture.DerivationDescription = f"Contours of {about.model} by {MANUFACTURER} burnt in"
        capture.ImageComments = NOTICE
        yield source.stamp(capture)


def _window(image: sitk.Image) -> tuple[float, float]:
    """The grey values of black and white, as in the report: percentiles in the head, the same for all slices."""
    array = sitk.GetArrayViewFromImage(image)
    head = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1)) != 0
    low, high = np.percentile(array[head] if head.any() else array, WINDOW_PERCENT)
    return float(low), float(high)


def _capture(header: Dataset, picture: NDArray[np.uint8], zoom: int) -> Dataset:
    """The picture as a DICOM object with patient, study, acquisition and position from its source's header."""
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
    capture.ConversionType = "WSD"  # workstation
    capture.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    capture.BodyPartExamined = header.get("BodyPartExamined") or "HEAD"  # no paired organ, so no laterality
    capture.PatientOrientation = _patient_orientation(header)
    if header.get("LossyImageCompression") == "01":  # stays true for derived images
        capture.LossyImageCompression = "01"
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in header:
                setattr(capture, keyword, header.get(keyword))
    capture.BurnedInAnnotation = header.get("BurnedInAnnotation") or "NO"  # refers to text that identifies the patient
    _place(capture, header, zoom)
    capture.Rows, capture.Columns = picture.shape[:2]
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    capture.PixelData = picture.tobytes() + b"\0" * (picture.size % 2)
    return capture


def _source_image(item: Dataset) -> Dataset:
    """Add the purpose to a reference to a slice."""
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.PurposeOfReferenceCodeSequence = Items([purpose])
    return item


def _place(capture: Dataset, header: Dataset, zoom: int) -> None:
    """Set pixel spacing and position of an enlarged slice; the centre of its first pixel is nearer to the corner."""
    rows_mm, columns_mm = (float(value) / zoom for value in header.PixelSpacing)
    across, down = np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3))
    back = (across * columns_mm + down * rows_mm) * (zoom - 1) / 2
    position = np.array(header.ImagePositionPatient, float) - back
    capture.PixelSpacing = [DSfloat(rows_mm, auto_format=True), DSfloat(columns_mm, auto_format=True)]
    capture.ImagePositionPatient = [DSfloat(value, auto_format=True) for value in position.tolist()]


def _patient_orientation(header: Dataset) -> list[str]:
    """Directions of rows and columns as letters (PS3.3 C.7.6.1.1.1), the main axis first."""
    letters = []
    for direction in np.reshape(np.array(header.ImageOrientationPatient, float), (2, 3)):
        ends = [pair[int(value < 0)] for pair, value in zip(("LR", "PA", "HF"), direction, strict=True)]
        order = np.argsort(-np.abs(direction))
        letters.append("".join(ends[axis] for axis in order if abs(direction[axis]) > 0.05))
    return letters
