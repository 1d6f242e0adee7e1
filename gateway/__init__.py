"""The gateway: sign-in, limits, the governed turn, the chat page and the API."""

VERSION = "0.1.0"
"""Of the whole product; the one place where it stands."""
