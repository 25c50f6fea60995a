"""The error tree.

    RaystellarError
    ├── ConfigError        an option, section or value of the configuration cannot be used
    ├── InputError         an input of the whole job cannot be used
    │   ├── LabelTableError    a label table lacks a column or rows, or has wrong values
    │   ├── DatasetError       a folder of preprocessed spectra cannot be used
    │   └── BundleError        a model bundle is missing, damaged or of another version
    ├── OutputError        the output cannot be written, or holds something else
    ├── KernelError        a compiled kernel gives wrong numbers on this machine
    ├── IncompleteError    a job ended without accounting for every input row
    └── SpectrumError      one spectrum cannot be used: becomes a row of the rejects, never ends a job

Every error except SpectrumError ends the program with a non-zero exit code and its message: one sentence with the
subject, the value, the bound and the cure. Any other exception is a programming error.
"""

from __future__ import annotations


class RaystellarError(Exception):
    """Raised by raystellar for a cause that the user can remove."""


class ConfigError(RaystellarError):
    """Raised when an option, section or value of the configuration cannot be used."""


class InputError(RaystellarError):
    """Raised when an input of the whole job cannot be used."""


class LabelTableError(InputError):
    """Raised when a label table lacks a needed column or rows, or has wrong values."""


class DatasetError(InputError):
    """Raised when a folder of preprocessed spectra cannot be used."""


class BundleError(InputError):
    """Raised when a model bundle is missing, damaged, or of another version."""


class OutputError(RaystellarError):
    """Raised when the output cannot be written, or holds the result of another job."""


class KernelError(RaystellarError):
    """Raised when a compiled kernel gives wrong numbers on this machine."""


class IncompleteError(RaystellarError):
    """Raised when a job ended without accounting for every input row."""


class SpectrumError(RaystellarError):
    """Raised when one spectrum cannot be used; caught by the stage and written to its rejects.

    Parameters
    ----------
    stage : stage of the work, one of ``schema.REJECT_STAGES``
    reason : short cause that can be counted, without values that differ from file to file
    detail : observed values, for a human
    spec_id : name of the spectrum, where its file holds many and the name is known
    """

    def __init__(self, stage: str, reason: str, detail: str = "", spec_id: str = "") -> None:
        super().__init__(stage, reason, detail, spec_id)  # all in args, so that it crosses processes
        self.stage, self.reason, self.detail, self.spec_id = stage, reason, detail, spec_id

    def __str__(self) -> str:
        return f"{self.stage}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error; its class where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
