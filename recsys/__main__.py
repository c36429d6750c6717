"""`python -m recsys`: the same program as the `recsys` and `lightning` scripts."""

from recsys.cli import main

if __name__ == "__main__":
    main()
