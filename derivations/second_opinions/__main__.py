"""``python -m numsim.derivations.second_opinions [ENTRY ...]``: entry, claimed, measured with its error."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from .pretraining import OPINIONS as PRETRAINING
from .supervised import OPINIONS as SUPERVISED


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line an opinion; the last column is the deviation in standard errors."""
    parser = argparse.ArgumentParser(description="the findings, measured once more by other code")
    parser.add_argument("entries", nargs="*", type=int, metavar="ENTRY", help="numbers in FINDINGS.md (all)")
    chosen = set(parser.parse_args(arguments).entries)
    start = time.perf_counter()
    for opinion in sorted([*PRETRAINING, *SUPERVISED], key=lambda found: found.entry):
        if chosen and opinion.entry not in chosen:
            continue
        measured, error = opinion.measure()
        off = f"{(measured - opinion.claimed) / error:+.1f} sd" if error > 0 else "exact"
        print(
            f"{opinion.entry:3d}  {opinion.text:58s} {opinion.claimed:9.4g}  "
            f"{measured:9.5g} \u00b1 {error:<8.2g} {off}",
            flush=True,
        )
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
