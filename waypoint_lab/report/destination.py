"""The folder of a report: checked before anything is changed, and written in the end."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from waypoint_lab.config.stack_file import write
from waypoint_lab.errors import ReportError
from waypoint_lab.report import picture
from waypoint_lab.report.model import Report

PAGE, PICTURE = "report.html", "report.png"


@dataclass(frozen=True)
class ReportFolder:
    """A folder that can be written, and the browser that prints the picture; an empty one means no picture."""

    folder: Path
    program: str

    @classmethod
    def prepared(cls, folder: Path, *, with_picture: bool) -> "ReportFolder":
        """Return the destination once the folder exists and can be written.

        Args:
            folder: The folder; it is made where it is missing.
            with_picture: A picture is wanted.

        Raises:
            ReportError: The folder cannot be written, or there is no browser for the picture.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ReportError(
                f"--report {folder}: it cannot be written ({error.strerror}); name another folder"
            ) from None
        return cls(folder, picture.browser() if with_picture else "")

    def write(self, report: Report) -> list[Path]:
        """Write the page, and its picture.

        Returns:
            The files.

        Raises:
            ReportError: A file cannot be written.
        """
        from waypoint_lab.report.page import html  # its libraries would delay every command

        page, image = self.folder / PAGE, self.folder / PICTURE
        try:
            image.unlink(missing_ok=True)  # the picture of an earlier report
            # A word of a command line may hold bytes that are no UTF-8.
            write(page, html(report).encode(errors="backslashreplace").decode())
        except OSError as error:
            raise ReportError(f"--report {page}: it cannot be written ({error.strerror})") from None
        if not self.program:
            return [page]
        picture.png(page, image, self.program)
        return [page, image]
