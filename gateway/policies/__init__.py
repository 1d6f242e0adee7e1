"""Versions of the policy: proposed, tried, activated by two people, at work."""
