"""Images that cannot be decoded or stored, as findings of the manifest's lines."""

from collections.abc import Mapping

from pipeline.errors import UserError
from pipeline.manifest import Finding, Manifest, by_cause
from pipeline.manifest.findings import PROBLEMS_SHOWN
from pipeline.words import counted, lines_and_more


class UnusableImagesError(UserError):
    """Images that cannot be decoded or stored; `faults`: row -> what is wrong with its image."""

    def __init__(self, manifest: Manifest, faults: Mapping[int, str]) -> None:
        self.rows = frozenset(faults)
        table = manifest.table
        files = [manifest.image_root / path for path in table["image_path"]]
        patients, lines = table["patient_id"].tolist(), table["line"].tolist()
        self.findings = tuple(
            Finding(
                "unusable_image",
                "error",
                f"patient {patients[row]!r}: image {files[row]}: {fault}",
                lines[row],
            )
            for row, fault in faults.items()
        )
        heading = f"manifest {manifest.path}: {counted(len(faults), 'image')} cannot be used"
        causes = [str(finding) for finding in by_cause(self.findings)]
        super().__init__("\n".join([heading, *lines_and_more(causes, PROBLEMS_SHOWN)]))
