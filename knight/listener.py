"""How the library tells what it is doing, without knowing who listens.

The command line prints; a library user may pass a listener of their own; by default nobody hears.
"""

from __future__ import annotations


class Listener:
    """Hears of the progress of one run. Every method does nothing here; override what matters."""

    def combination(self, label: str) -> None:
        """Of several combinations, the one of this label begins."""

    def stage(self, number: int, title: str) -> None:
        """A stage (1 to 5) begins."""

    def work(self, text: str) -> None:
        """A step begins whose length is not known."""

    def detail(self, text: str) -> None:
        """A fact worth a line at INFO level."""

    def announce(self, text: str) -> None:
        """What the run is about to do to the user's machine, such as the disk space that it takes."""

    def warn(self, text: str) -> None:
        """Something that the user should know: a fall-back, an operator left in float."""

    def forward(self, done: int, total: int | None) -> None:
        """The infer function has made `done` forward calls of about `total`."""


SILENT = Listener()
