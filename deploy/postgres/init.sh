#!/bin/bash
# Runs once, on an empty data folder: one role and one database for each of the two that use this server.
set -euo pipefail
for name in attest keycloak; do
  secret=/run/secrets/${name}_db_password
  psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --set name="$name" --set password="$(cat "$secret")" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
