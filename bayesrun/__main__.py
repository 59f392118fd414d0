"""`python -m bayesrun`."""

from bayesrun.cli.main import main

if __name__ == "__main__":
    main()
