"""`python -m limbeck.cli`."""

from limbeck.cli import main

main()
