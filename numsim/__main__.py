"""``python -m numsim`` is the command ``numsim``."""

from .cli import main

if __name__ == "__main__":
    main()
