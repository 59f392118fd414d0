"""`python -m bayesrun`."""

from bayesrun.app import main

if __name__ == "__main__":
    main()
