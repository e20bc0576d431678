"""How many of the .scn files below a folder can be read and flown, and why the others cannot: a table for the docs.

python tests/benchmarks/survey_scenarios.py FOLDER, such as `scenario` of BlueSky's repository.
"""

import sys
from collections import defaultdict
from pathlib import Path

from skyclone.collect import scenarios
from skyclone.collect.scenarios import scn_parser
from skyclone.datasets.errors import ConfigurationError

REASONS = (
    ("start at speeds", "read, but too fast for the world's aircraft"),
    ("brings in traffic", "aircraft at random (MCRE), or by a plugin (SYN, TRAFGEN)"),
    ("left out: %", "no aircraft: a procedure that others call with arguments (%0)"),
    ("'CRE", "no aircraft: BlueSky makes none of its CRE either"),
    ("found none", "no aircraft: areas, drawings, waypoints or settings only"),
    ("alone", "a waypoint that is a number"),
)


def reason(path: Path) -> str:
    """Return what becomes of a file."""
    try:
        scn_parser.read(path)
        scenarios.world_for(f"file:{path}")
    except ConfigurationError as error:
        return next((why for part, why in REASONS if part.lower() in str(error).lower()), str(error))
    return "flown"


def main(folder: Path) -> None:
    """Print the table."""
    found = defaultdict(list)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".scn")
    for path in files:
        found[reason(path)].append(path.relative_to(folder))
    print(f"| of {len(files)} files | | such as |\n|---|---|---|")
    for why, paths in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f"| {len(paths)} | {why} | {', '.join(f'`{path}`' for path in paths[:3])} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
