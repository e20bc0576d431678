"""What people read in a terminal: one way to say a line, in which no file can steer the terminal.

Names, specs and notes in files of others may hold anything. Escape sequences in them could hide text, or write over
what stands there; so whatever is said goes through `printable`.
"""

import os
import re
import shlex
import subprocess
import sys

_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and new line, those that turn the direction of writing, and halves of characters."""


def printable(text: str) -> str:
    r"""Return a text with everything that steers a terminal written out, such as `\x1b`."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def command_line(*arguments: str) -> str:
    """Return a command of ours as one types it: `skyclone evaluate 'my runs/clone'`.

    In double quotes on Windows, where `cmd` takes no others.
    """
    words = ("skyclone", *arguments)
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def say(line: str) -> None:
    """Say a line to people, on standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(printable(line), file=sys.stderr)
