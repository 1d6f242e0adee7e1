#!/bin/sh
# Hands secrets that the engine mounts as files to the gateway: /run/secrets/attest_database_url becomes
# ATTEST_DATABASE_URL. The master key stays a file; the gateway wants it readable by nobody else, so it gets a copy of
# its own in memory (/tmp is a tmpfs).
set -eu
for file in /run/secrets/attest_*; do
  [ -r "$file" ] || continue
  name=$(basename "$file" | tr '[:lower:]' '[:upper:]')
  value=$(cat "$file")
  export "$name=$value"
done
if [ -r /run/secrets/master_key ]; then
  umask 077
  cat /run/secrets/master_key > /tmp/master.key
  export ATTEST_MASTER_KEY_FILE=/tmp/master.key
fi
exec "$@"
