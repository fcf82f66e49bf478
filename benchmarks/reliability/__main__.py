"""Try to break slidecam, and say what was lost: kills, faults, fuzz, determinism, soak.

    make reliability
    PYTHONPATH=benchmarks python -m reliability --kills 200 --fuzz 100000 --soak 7200

A part with a count of 0 is left out; the whole takes hours, and ``--join FILE`` lets the parts be
tried in several calls, whose rows are one page. Everything is drawn from ``--seed``; one hostile
input is made again by ``--door NAME --seed SEED --index INDEX``, which prints where it ended.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reliability.rows import Row, Sitting, keep, page, table

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[1] / "RELIABILITY.md"
KILLS_OF_CLUSTERS = 5
"""Every so manieth kill is of a cluster's process."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs of all kinds together")
    parser.add_argument("--faults", type=int, default=1, help="0 leaves them out")
    parser.add_argument("--fuzz", type=int, default=100_000, help="inputs of all doors together")
    parser.add_argument("--determinism", type=int, default=1, help="0 leaves it out")
    parser.add_argument("--soak", type=float, default=7200, help="seconds, a third for each place")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--door", action="append", help="of these alone; may be repeated")
    parser.add_argument("--index", type=int, help="one input of one door, with its traceback")
    parser.add_argument("--out", type=Path, help=f"the page; default {PAGE.name} if all parts run")
    parser.add_argument("--join", type=Path, help="a file of rows of other calls")
    parser.add_argument("--keep", type=Path, help="work here and leave what was lost")
    return parser.parse_args()


def _rows(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    # lazy on purpose: each part loads what it needs
    if given.kills:
        from reliability.cluster import cluster_kills  # noqa: PLC0415
        from reliability.kills import kills  # noqa: PLC0415

        of_clusters = given.kills // KILLS_OF_CLUSTERS
        yield from kills(folder / "kills", given.kills - of_clusters, given.seed)
        yield from cluster_kills(folder / "cluster", of_clusters, given.seed)
    if given.faults:
        from reliability.faults import faults  # noqa: PLC0415

        yield from faults(folder / "faults")
    if given.fuzz:
        from reliability.fuzz import fuzz  # noqa: PLC0415

        yield from fuzz(folder / "fuzz", given.fuzz, given.seed, given.door)
    if given.determinism:
        from reliability.determinism import determinism  # noqa: PLC0415

        yield from determinism(folder / "determinism")
    if given.soak:
        from reliability.soak import soak  # noqa: PLC0415

        yield from soak(folder / "soak", given.soak)


def _once(given: argparse.Namespace, folder: Path) -> None:
    """Try one input in this process, without a limit, and let its exception through."""
    from reliability.doors import DOORS  # noqa: PLC0415
    from reliability.fuzz import prepared, spoiled  # noqa: PLC0415

    door = DOORS[given.door[0]]
    content = spoiled(door, prepared(door, folder), given.seed, given.index)
    print(f"{len(content):,} bytes: {content[:200]!r}")
    (folder / door.file).write_bytes(content)
    print(f"returned {door.read(folder)!r}")


def main() -> None:
    """Print a line for each row as it is done, the table at the end, and write the page."""
    given, begun = _options(), time.monotonic()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="reliability-"))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        if given.index is not None:
            _once(given, folder / "once")
            return
        rows = []
        for row in _rows(given, folder):
            rows.append(row)
            said = f"{row.part} | {row.fault} | {row.tries} | {row.survived} | {len(row.lost)}"
            print(f"{said} {row.note}", flush=True)
            for each in row.lost[:5]:
                print(f"    {each}", flush=True)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(table(rows))
    words = " ".join(["python -m reliability", *sys.argv[1:]])
    sittings = [Sitting.now(words, time.monotonic() - begun, rows)]
    if given.join is not None:
        sittings = keep(given.join, sittings[0])
    whole = all((given.kills, given.faults, given.fuzz, given.determinism, given.soak))
    out = given.out or (PAGE if whole and not given.door else None)
    if out is not None:
        out.write_text(page(sittings), encoding="utf-8")
    sys.exit(bool(any(row.lost for row in rows)))


if __name__ == "__main__":
    main()
