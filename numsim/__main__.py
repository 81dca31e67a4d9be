"""``python -m numsim`` is the command ``numsim``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python looks for modules in the current folder first. Where numsim is not from there nothing else is: a
    # file that happens to be called random.py is not taken for the library's.
    if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parents[1]:
        del sys.path[0]
    from .cli import main

    main()
