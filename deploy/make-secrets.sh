#!/bin/sh
# Makes what compose.yaml mounts as secrets: random passwords, the key that wraps content keys, and, unless the company's
# certificate lies there already (tls.crt, tls.key, and its authority's as ca.crt), a self-signed one. Never overwrites.
# The folder is for its owner alone; the files in it are readable because each service runs as a user of its own.
#
#   deploy/make-secrets.sh example.com
set -eu
domain=${1:?"usage: deploy/make-secrets.sh DOMAIN, for instance example.com"}
case $domain in *[!A-Za-z0-9.-]*) echo "$domain is no domain name" >&2; exit 2 ;; esac
command -v openssl >/dev/null || { echo "openssl is needed" >&2; exit 2; }
folder=$(dirname "$0")/secrets
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

write() { # NAME VALUE
  [ -e "$1" ] || { printf '%s' "$2" > "$1"; chmod 444 "$1"; }
}
random() { openssl rand -hex 24; }

for name in postgres_password attest_db_password keycloak_db_password keycloak_admin_password valkey_password \
  elastic_password kibana_password kibana_encryption_key attest_oidc_client_secret; do
  write "$name" "$(random)"
done
write master_key "$(openssl rand -base64 32)"
write attest_database_url "postgresql+asyncpg://attest:$(cat attest_db_password)@postgres:5432/attest"
for job in writer reader verifier eraser; do
  write "attest_elasticsearch_$job" "attest_$job:$(random)"
done
write attest_elasticsearch_bootstrap "elastic:$(cat elastic_password)"
write attest_redis_url "redis://:$(cat valkey_password)@valkey:6379/0"

if [ ! -e tls.key ] || [ ! -e tls.crt ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 365 -keyout tls.key -out tls.crt \
    -subj "/CN=$domain" -addext "subjectAltName=DNS:chat.$domain,DNS:sso.$domain,DNS:kibana.$domain" 2>/dev/null
  chmod 444 tls.key tls.crt
  echo "Made a self-signed certificate for chat., sso. and kibana.$domain; replace tls.crt, tls.key and ca.crt by your own." >&2
fi
# The gateway trusts ca.crt alone when it asks the sign-in service: a certificate that somebody else signed needs theirs.
if [ ! -e ca.crt ]; then
  if [ "$(openssl x509 -in tls.crt -noout -subject_hash)" != "$(openssl x509 -in tls.crt -noout -issuer_hash)" ]; then
    echo "tls.crt is not self-signed: put the root certificate of its authority beside it as ca.crt, then run this again." >&2
    exit 1
  fi
  cp tls.crt ca.crt
fi
openssl verify -no_check_time -no-CApath -no-CAstore -CAfile ca.crt -untrusted tls.crt tls.crt >/dev/null 2>&1 || {
  echo "ca.crt is not of the authority that signed tls.crt: replace it by the root certificate, then run this again." >&2
  exit 1
}
chmod 444 tls.key tls.crt ca.crt # each service runs as a user of its own
