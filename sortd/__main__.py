"""`python -m sortd`."""

from sortd.commands.cli import main

if __name__ == "__main__":
    main()
