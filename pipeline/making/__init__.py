"""A manifest from what lies on disk: trees of images, DICOM archives, class folders, tables."""

from pipeline.making.manifest import MadeManifest, make_manifest, out_path

__all__ = ["MadeManifest", "make_manifest", "out_path"]
