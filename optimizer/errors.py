"""Every error that tpopt raises on purpose.

* TpoptError
  - InputError        what the user gave is wrong            exit 2
    - NoPathError     ranks are asked to sit where no working link joins them
    - UnknownRateError  the bandwidth of a link on the way is nowhere given
  - InfeasibleError   the input is right, nothing fits       exit 1, carries the nearest miss
  - NoAnswerError     stopped before any answer was known    exit 3
  - VerificationError the checker disagrees with the solver  exit 70, a bug of ours
* Stopped             the user's Ctrl-C                      exit 3; no error, so that no question on the way answers it
"""


class Stopped(BaseException):
    """The user wants what is known by now."""


class TpoptError(Exception):
    """An expected failure: one message that says what is wrong, where, and what to do."""

    exit_code = 70


class InputError(TpoptError):
    """A file, an option or a preset name is wrong; the message names file, key and remedy."""

    exit_code = 2


class NoPathError(InputError):
    """GPUs of one replica do not reach each other: nodes are not joined, or a link on the way is down."""


class UnknownRateError(InputError):
    """A link that is needed has no bandwidth: neither the cluster nor the catalogue gives one; names the key."""


class InfeasibleError(TpoptError):
    """The input is right and no layout is admissible; ``nearest_miss`` holds the numbers of the closest one."""

    exit_code = 1

    def __init__(self, message: str, *, nearest_miss: tuple[str, ...] = (), remedies: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.nearest_miss = nearest_miss
        self.remedies = remedies


class NoAnswerError(TpoptError):
    """The limit was reached before a feasible plan was known."""

    exit_code = 3


class VerificationError(TpoptError):
    """A plan broke a rule when it was checked again from scratch: a bug, reported with the rule's name."""

    exit_code = 70
