"""`sortd`, and `python -m sortd`."""

from sortd.config.python_interpreter import forget_current_folder

# Before anything else is imported: the current folder may be a library that anybody drops files into.
forget_current_folder()

from sortd.cli.app import main  # noqa: E402 - see above

if __name__ == "__main__":
    main()
