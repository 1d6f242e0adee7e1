"""The master key as the settings choose it: from the environment, or from a file.

Another kind of `audit.keys.MasterKey`, one that asks a key management service for instance, would be chosen here.
"""

from audit.keys import FileMasterKey
from gateway.settings import Settings


def load_master_key(settings: Settings, *, create: bool = False) -> FileMasterKey:
    """Return the key; `create` makes the file where there is none. Raises `audit.keys.KeyFileError`."""
    given = settings.master_key.get_secret_value()
    if given:
        return FileMasterKey.given(given)
    path = settings.master_key_path
    return FileMasterKey.load_or_create(path) if create else FileMasterKey.load(path)
