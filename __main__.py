"""The command `skyclone`; `python -m skyclone` is the same (for `torchrun -m skyclone`)."""

from . import ctrl_c


def main() -> None:
    """Run the command line; Ctrl-C is answered from here on, also while the rest is imported."""
    ctrl_c.install()
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
