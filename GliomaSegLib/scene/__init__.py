"""GliomaSeg in a 3D Slicer scene (MRML): the only package of the library that imports slicer. Never imports Qt."""
