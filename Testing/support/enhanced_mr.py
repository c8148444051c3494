"""Classic MR series rewritten as one Enhanced MR file, as newer scanners send them; dciodvfy finds no error in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

_KEPT = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
    *("FrameOfReferenceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "PositionReferenceIndicator", "Modality", "Manufacturer", "ManufacturerModelName"),
    *("MagneticFieldStrength", "PatientPosition", "BodyPartExamined", "SeriesNumber", "SeriesDescription"),
    *("ProtocolName", "Columns", "Rows", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "MRAcquisitionType"),
)
_OF_ALL_FRAMES = {
    "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    "ContentQualification": "RESEARCH",
    "InstanceNumber": 1,
    "ContentDate": "20200101",
    "ContentTime": "120000",
    "AcquisitionDateTime": "20200101120000",
    "AcquisitionDuration": 200.0,
    "AcquisitionNumber": 1,
    "DeviceSerialNumber": "1",
    "SoftwareVersions": "1",
    "AcquisitionContextSequence": [],
    "PresentationLUTShape": "IDENTITY",
    "LossyImageCompression": "00",
    "BurnedInAnnotation": "NO",
    "ResonantNucleus": "1H",
    "KSpaceFiltering": "NONE",
    "ApplicableSafetyStandardAgency": "IEC",
    "PulseSequenceName": "fl3d1",
    "MultiPlanarExcitation": "NO",
    "PhaseContrast": "NO",
    "TimeOfFlightContrast": "NO",
    "SteadyStatePulseSequence": "NONE",
    "EchoPlanarPulseSequence": "NO",
    "SaturationRecovery": "NO",
    "SpectrallySelectedSuppression": "NONE",
    "OversamplingPhase": "NONE",
    "GeometryOfKSpaceTraversal": "RECTILINEAR",
    "RectilinearPhaseEncodeReordering": "LINEAR",
    "SegmentedKSpaceTraversal": "SINGLE",
    "NumberOfKSpaceTrajectories": 1,
}
_KIND = {
    "PixelPresentation": "MONOCHROME",
    "VolumetricProperties": "VOLUME",
    "VolumeBasedCalculationTechnique": "NONE",
    "ComplexImageComponent": "MAGNITUDE",
    "AcquisitionContrast": "UNKNOWN",
}


def write_enhanced(folders: Sequence[Path], path: Path, given: bool = True, **frame_type: str) -> Path:
    """Write all slices of classic series as one file.

    As the standard allows, the frames follow one another in no spatial order and each is rescaled by a slope of its
    own. Every folder becomes a stack with its own echo and inversion time.

    Args:
        given: whether the contrast medium that the series name, if any, had been given.
        frame_type: over what is said of the frames, e.g. ``ComplexImageComponent``.
    """
    slices = [(stack, pydicom.dcmread(file)) for stack, folder in enumerate(folders, 1) for file in folder.iterdir()]
    order = np.random.default_rng(len(slices)).permutation(len(slices))
    slices = [slices[index] for index in order]
    first = slices[0][1]
    whole = item(**{keyword: first.get(keyword) for keyword in _KEPT if keyword in first})
    whole.update(item(**(_OF_ALL_FRAMES | _KIND | frame_type)))
    whole.SOPClassUID = EnhancedMRImageStorage
    whole.SOPInstanceUID, whole.SeriesInstanceUID = generate_uid(), generate_uid()
    if "GR" in first.ScanningSequence:
        whole.EchoPulseSequence = "GRADIENT"
    else:
        whole.EchoPulseSequence, whole.MultipleSpinEcho = "SPIN", "NO"
    if first.MRAcquisitionType == "3D":
        whole.CoverageOfKSpace = "FULL"
    if "ContrastBolusAgent" in first:
        whole.ContrastBolusAgentSequence = [_agent()]
    whole.DimensionOrganizationSequence = [item(DimensionOrganizationUID=generate_uid())]
    whole.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=whole.DimensionOrganizationSequence[0].DimensionOrganizationUID,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,  # Frame Content Sequence
        )
        for pointer in (0x00209056, 0x00209057)  # Stack ID, In-Stack Position Number
    ]
    whole.NumberOfFrames = len(slices)
    whole.SharedFunctionalGroupsSequence = [_shared(first, frame_type)]
    slopes = [1.0 / (1 + number % 3) for number in range(len(slices))]
    whole.PerFrameFunctionalGroupsSequence = [
        _own(one, stack, slope, given) for (stack, one), slope in zip(slices, slopes, strict=True)
    ]
    pixels = [one.pixel_array / slope for (_, one), slope in zip(slices, slopes, strict=True)]
    whole.PixelData = np.rint(pixels).astype("<i2" if first.PixelRepresentation else "<u2").tobytes()
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save_as(path, enforce_file_format=True)
    return path


def item(**elements: object) -> Dataset:
    """A dataset of these elements, by keyword."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def _code(value: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


def _agent() -> Dataset:
    agent = _code("407976008", "Gadobutrol")
    agent.update(
        item(
            ContrastBolusAgentNumber=1,
            ContrastBolusAdministrationRouteSequence=[_code("47625008", "Intravenous route")],
            ContrastBolusIngredientCodeSequence=[_code("58281002", "Gadolinium")],
            ContrastBolusVolume=7,
            ContrastBolusIngredientConcentration=1,
        )
    )
    return agent


def _shared(first: Dataset, frame_type: dict[str, str]) -> Dataset:
    measures = {keyword: first.get(keyword) for keyword in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")}
    coil = {"ReceiveCoilManufacturerName": "", "ReceiveCoilType": "VOLUME", "QuadratureReceiveCoil": "NO"}
    transmit = {"TransmitCoilManufacturerName": "", "TransmitCoilType": "BODY"}
    geometry = {
        "InPlanePhaseEncodingDirection": "ROW",
        "MRAcquisitionFrequencyEncodingSteps": int(first.Columns),
        "MRAcquisitionPhaseEncodingStepsInPlane": int(first.Rows),
        "MRAcquisitionPhaseEncodingStepsOutOfPlane": 1,
        "PercentSampling": 100,
        "PercentPhaseFieldOfView": 100,
    }
    imaging = {"MagnetizationTransfer": "NONE", "BloodSignalNulling": "NO", "Tagging": "NONE"}
    return item(
        PixelMeasuresSequence=[item(**measures)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
        MRImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], **(_KIND | frame_type))],
        FrameAnatomySequence=[item(FrameLaterality="B", AnatomicRegionSequence=[_code("12738006", "Brain")])],
        MRFOVGeometrySequence=[item(**geometry)],
        MRImagingModifierSequence=[item(TransmitterFrequency=123.0, PixelBandwidth=200, **imaging)],
        MRReceiveCoilSequence=[item(ReceiveCoilName="HEAD", **coil)],
        MRTransmitCoilSequence=[item(TransmitCoilName="BODY", **transmit)],
        MRAveragesSequence=[item(NumberOfAverages=1)],
    )


def _own(one: Dataset, stack: int, slope: float, given: bool) -> Dataset:
    train = int(one.get("EchoTrainLength", 1))
    timing = item(
        RepetitionTime=one.RepetitionTime,
        FlipAngle=one.FlipAngle,
        EchoTrainLength=train,
        RFEchoTrainLength=train,
        GradientEchoTrainLength=0,
        SpecificAbsorptionRateSequence=[
            item(SpecificAbsorptionRateDefinition="IEC_HEAD", SpecificAbsorptionRateValue=1.0)
        ],
        OperatingModeSequence=[item(OperatingModeType="RF", OperatingMode="IEC_NORMAL")],
    )
    modifier = item(
        InversionRecovery="YES" if "InversionTime" in one else "NO",
        FlowCompensation="NONE",
        Spoiling="NONE",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        PartialFourier="NO",
        ParallelAcquisition="NO",
    )
    if "InversionTime" in one:
        modifier.InversionTimes = [float(one.InversionTime)]
    content = item(
        StackID=str(stack),
        InStackPositionNumber=int(one.InstanceNumber),
        DimensionIndexValues=[stack, int(one.InstanceNumber)],
        FrameReferenceDateTime="20200101120000",
        FrameAcquisitionDateTime="20200101120000",
        FrameAcquisitionDuration=200.0,
    )
    rescale = item(RescaleIntercept=0, RescaleSlope=DSfloat(slope, auto_format=True), RescaleType="US")
    groups = item(
        FrameContentSequence=[content],
        PlanePositionSequence=[item(ImagePositionPatient=one.ImagePositionPatient)],
        PixelValueTransformationSequence=[rescale],
        MRTimingAndRelatedParametersSequence=[timing],
        MREchoSequence=[item(EffectiveEchoTime=float(one.EchoTime))],
        MRModifierSequence=[modifier],
    )
    if "ContrastBolusAgent" in one:
        usage = item(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="YES" if given else "NO")
        usage.ContrastBolusAgentDetected = "YES" if given else "NO"
        groups.ContrastBolusUsageSequence = [usage]
    return groups


def as_legacy_converted(path: Path) -> Path:
    """Rewrite such a file as what an archive makes of classic slices: Legacy Converted Enhanced MR.

    The elements of classic headers that have no functional group of their own are in "unassigned" groups.
    """
    whole = pydicom.dcmread(path)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedMRImageStorage
    for groups in (*whole.SharedFunctionalGroupsSequence, *whole.PerFrameFunctionalGroupsSequence):
        classic = Dataset()
        for echo in groups.get("MREchoSequence", []):
            classic.EchoTime = f"{echo.EffectiveEchoTime:.9g}"
        for timing in groups.get("MRTimingAndRelatedParametersSequence", []):
            classic.RepetitionTime = timing.RepetitionTime
        for modifier in groups.get("MRModifierSequence", []):
            if "InversionTimes" in modifier:
                classic.InversionTime = f"{modifier.InversionTimes:.9g}"
        for name in ("MREchoSequence", "MRTimingAndRelatedParametersSequence", "MRModifierSequence"):
            groups.pop(name, None)
        is_shared = "PlaneOrientationSequence" in groups
        setattr(groups, f"Unassigned{'Shared' if is_shared else 'PerFrame'}ConvertedAttributesSequence", [classic])
    whole.save_as(path, enforce_file_format=True)
    return path
