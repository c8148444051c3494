"""Converts masks to closed planar contours: one polygon per connected component of a slice, holes by keyholes.

A keyhole is DICOM's way to give a single closed polygon a hole (PS3.3 C.8.8.6.3): a channel of zero width leads from
the outline to the hole and back, so that the area is correct with any filling rule.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.measure import find_contours

Polygon = NDArray[np.float64]


def polygons(mask: NDArray[np.bool_]) -> Iterator[Polygon]:
    """The polygons of a slice ``[row, column]``: corners ``[n, (row, column)]`` in pixels, pixel centres at integers.

    Components are 4-connected. The outlines run half way between pixel centres inside and outside of the mask.
    """
    pieces, _ = ndimage.label(mask)  # 4-connected, as the outlines below
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        piece = np.pad(pieces[box] == number, 1).astype(np.uint8)
        outlines = [outline[:-1] for outline in find_contours(piece, 0.5, fully_connected="low")]
        outlines.sort(key=lambda outline: -np.prod(np.ptp(outline, axis=0)))
        corner = np.array([part.start for part in box]) - 1
        yield _joined(outlines[0], outlines[1:]) + corner


def _joined(outline: Polygon, holes: list[Polygon]) -> Polygon:
    """Join an outline and its holes to one polygon by bridges between the nearest corners.

    The shortest bridge, to the outline or a hole that is joined already, is made first: it cannot cross another hole.
    """
    if not holes:
        return outline
    corners = np.concatenate(holes)
    owner = np.repeat(np.arange(len(holes)), [len(hole) for hole in holes])
    distance, nearest = np.full(len(corners), np.inf), np.zeros_like(corners)  # from each to the joined corners
    newest = outline
    for _ in holes:
        reached, places = KDTree(newest).query(corners)
        closer = reached < distance
        distance[closer], nearest[closer] = reached[closer], newest[places[closer]]
        start = int(distance.argmin())
        mine = owner == owner[start]
        newest = np.roll(corners[mine], -int(np.count_nonzero(mine[:start])), axis=0)
        at = int((outline == nearest[start]).all(axis=1).argmax())
        outline = np.concatenate([outline[: at + 1], newest, newest[:1], outline[at:]])
        corners, owner, distance, nearest = (one[~mine] for one in (corners, owner, distance, nearest))
    return outline


def without_straight_corners(polygon: Polygon) -> Polygon:
    """The same polygon without corners in the middle of a straight line."""
    before, after = polygon - np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0) - polygon
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    back = np.einsum("ij,ij->i", before, after) < 0
    return polygon[(np.abs(turn) > 1e-9) | back]
