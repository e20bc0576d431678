"""`python -m skyclone` is the same as `skyclone` (for `torchrun -m skyclone`)."""

from .cli import main

if __name__ == "__main__":
    main()
