"""The bridge between GliomaSeg and 3D Slicer's scene; the only place that imports slicer. Never imports Qt."""
