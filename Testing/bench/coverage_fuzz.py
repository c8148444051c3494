"""Coverage-guided fuzzing of the readers with atheris (``pip install atheris``), for an hour or so at a time::

    python -m Testing.bench.coverage_fuzz dicom -max_total_time=3600 FOLDER
    python -m Testing.bench.coverage_fuzz nifti -max_total_time=3600 FOLDER

``FOLDER`` holds sound files to begin with and keeps what reaches new code. Only a sentence (``GliomaSegError``) may
come out; whatever else does ends the run, and the file that did it is written to the working folder.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pydicom", "GliomaSegLib.io"]):
    from GliomaSegLib.io.dicom import read_folder
    from GliomaSegLib.io.images import geometry_doubts, read_geometry, read_image

from GliomaSegLib.errors import GliomaSegError


def main() -> None:
    """Fuzz until a fault is found or the time is over."""
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="gliomaseg-fuzz-"))

    def dicom(content: bytes) -> None:
        (folder / "a.dcm").write_bytes(content)
        read_folder(folder)

    def nifti(content: bytes) -> None:
        path = folder / "a.nii"
        path.write_bytes(content)
        for read in (read_geometry, geometry_doubts, read_image):
            with contextlib.suppress(GliomaSegError):
                read(path)

    target = {"dicom": dicom, "nifti": nifti}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
