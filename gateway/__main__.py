"""`python -m gateway` is the same as `attest`."""

from gateway.cli import main

main()
