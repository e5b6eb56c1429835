"""Entry of `python -m pipeline`: fix what the bytes depend on, then hand over to the command line."""

from pipeline import determinism

determinism.fix()

from pipeline.cli import main  # noqa: E402  (numpy reads these variables when it is imported)

if __name__ == "__main__":
    main()
