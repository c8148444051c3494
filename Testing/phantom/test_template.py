"""The brain template that comes with GliomaSeg: its place in MNI space, its halves and its tissues."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.phantom.template import read_template
from GliomaSegLib.resources import resource


def array(name: str) -> np.ndarray:
    return sitk.GetArrayFromImage(read_template(name))


def test_the_midsagittal_plane_is_that_of_mni_space_and_the_halves_are_mirror_images() -> None:
    for name in ("t1", "gm", "wm"):
        image = read_template(name)
        assert image.GetSize() == (197, 233, 189)
        assert image.GetSpacing() == (1.0, 1.0, 1.0)
        assert image.TransformIndexToPhysicalPoint((98, 134, 72)) == (0.0, 0.0, 0.0)
        np.testing.assert_array_equal(array(name), array(name)[:, :, ::-1])


def test_the_stored_half_is_the_patients_left() -> None:
    left = sitk.ReadImage(str(resource("templates/mni_icbm152_t1_left.nii.gz")))
    assert min(left.TransformIndexToPhysicalPoint((i, 0, 0))[0] for i in range(left.GetWidth())) == 0.0


def test_grey_and_white_matter_are_shares_of_a_brain_of_the_templates_size() -> None:
    t1, grey, white = (array(name) / 255 for name in ("t1", "gm", "wm"))
    assert 1.7e6 < (t1 > 0).sum() < 2.0e6, "mm3: the mean of 152 heads scaled up to Talairach's brain"
    assert (grey + white).max() < 1.02
    assert white[81, 158, 74] > 0.9 > 0.1 > grey[81, 158, 74], "frontal white matter"
    assert t1[white > 0.9].mean() > 1.15 * t1[grey > 0.9].mean()


def test_the_notice_lies_beside_the_files() -> None:
    assert "Copyright (C) 1993-2004 Louis Collins" in resource("templates/LICENSE").read_text(encoding="utf-8")
