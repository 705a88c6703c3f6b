"""`python -m nplb` is the `nplb` command."""

from nplb.cli import main

if __name__ == "__main__":
    main(prog_name="nplb")
