"""Run the training commands; `freshet train` and its like run this as a process."""

from __future__ import annotations

import sys

from services.training.stopping import INTERRUPTED, interruptible


def main() -> None:
    """Run the command line: exit code 0, 1 for a failure, 2 for a mistake in it, 130 for Ctrl-C."""
    with interruptible() as interrupted:
        try:
            from services.training.commands.app import app  # a second, in which Ctrl-C may come

            app(prog_name="freshet")
        except BaseException as error:
            if interrupted():
                sys.stderr.write("interrupted; what was finished is kept\n")
                exec("")  # Python ends itself by a signal that struck within the exec before
                sys.exit(INTERRUPTED)
            from services.training.failures import explain

            sentence = explain(error)
            if sentence is None:
                raise
            sys.stderr.write(f"freshet: {sentence}\n")
            sys.exit(1)


if __name__ == "__main__":
    main()
