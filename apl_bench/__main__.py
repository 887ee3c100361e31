"""`python -m apl_bench` is `apl-bench`."""

from apl_bench.cli.main import main

if __name__ == "__main__":
    main()
