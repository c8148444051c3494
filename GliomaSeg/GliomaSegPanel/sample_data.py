"""A study for trying GliomaSeg in Slicer's module Sample Data: a phantom that is made on the spot, not downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from GliomaSegPanel.translation import _

_ICON = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / "GliomaSeg.png"


def register() -> None:
    """Add the study to Sample Data; to be called when the application has started."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="GliomaSeg",
        sampleName="GliomaPhantom",
        uris=[],
        fileNames=[],
        thumbnailFileName=str(_ICON),
        customDownloader=load_phantom,
    )


def load_phantom(_source: object = None, spacing_mm: float = 1.0) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Load T1, T1 + contrast, T2 and FLAIR of a generated head with a glioma, as they leave a scanner: of different
    voxels, and the head has moved between them."""
    from GliomaSegLib.phantom import make_phantom
    from GliomaSegLib.scene.study import show_image

    nodes: list[Any] = []
    with slicer.util.tryWithErrorDisplay(_("The phantom could not be made."), waitCursor=True):
        for sequence, image in make_phantom(spacing_mm=spacing_mm).images.items():
            nodes.append(show_image(slicer.mrmlScene, image, f"Phantom {sequence.title}"))
        slicer.util.setSliceViewerLayers(background=nodes[1], fit=True)
    return nodes
