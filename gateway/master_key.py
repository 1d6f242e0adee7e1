"""The master key as the settings choose it: from the environment, from a file, or from a file that Vault sealed."""

from audit import key_service
from audit.keys import FileMasterKey
from audit.transit import TransitKeyService, TransitSettings
from gateway.settings import Settings


def load_master_key(settings: Settings, *, create: bool = False) -> FileMasterKey:
    """Return the key; `create` makes the file where there is none. Raises `audit.keys.KeyFileError`."""
    given = settings.master_key.get_secret_value()
    if given:
        return FileMasterKey.given(given)
    path = settings.master_key_path
    if settings.vault_url is not None:
        service = TransitKeyService(transit_settings(settings))
        return key_service.load_or_create(path, service) if create else key_service.load(path, service)
    return FileMasterKey.load_or_create(path) if create else FileMasterKey.load(path)


def transit_settings(settings: Settings) -> TransitSettings:
    """Return where Vault's transit key is, and who asks; the settings were checked together."""
    return TransitSettings(
        url=str(settings.vault_url or "").rstrip("/"),
        key=settings.vault_key,
        token_file=settings.vault_token_file or settings.data_dir / "vault.token",
        ca_file=settings.vault_ca_file,
        namespace=settings.vault_namespace,
    )
