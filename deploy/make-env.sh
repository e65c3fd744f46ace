#!/bin/sh
# Makes what compose.yaml needs to know and nobody else may: .env (ports, names) and secrets/ (random passwords),
# beside this script or in the folder that is named. Never overwrites: existing volumes know the old passwords.
#   deploy/make-env.sh [FOLDER]
set -eu
umask 077
dir=${1:-$(dirname "$0")}
for name in .env secrets; do
  if [ -e "$dir/$name" ]; then
    echo "make-env: $dir/$name is already there; the volumes know its passwords. To begin anew remove both, and the volumes." >&2
    exit 1
  fi
done
random() { # 32 characters of the alphabet of base64url: 192 bits
  head -c 24 /dev/urandom | base64 -w0 | tr '+/' '-_'
}
key() { # letters and digits only
  head -c 60 /dev/urandom | base64 -w0 | tr -d '+/=' | cut -c1-"$1"
}
mkdir "$dir/secrets"
secret() { # name, text. Readable for the containers' users, which are none of this machine's: nobody else comes
  printf '%s\n' "$2" > "$dir/secrets/$1" # into the folder, which is its owner's alone.
  chmod 644 "$dir/secrets/$1"
}
queue=$(random) key_id=$(key 20) s3=$(key 40)
secret db_password "$(random)"
secret cache_password "$(random)"
secret grafana_password "$(random)"
secret queue_password "$queue"
secret rabbitmq.conf "default_user = sonde
default_pass = $queue"
secret s3_key_id "$key_id"
secret s3_secret "$s3"
secret s3.json "{\"identities\": [{\"name\": \"sonde\", \"credentials\": [{\"accessKey\": \"$key_id\", \"secretKey\": \"$s3\"}],
  \"actions\": [\"Admin\", \"Read\", \"List\", \"Tagging\", \"Write\"]}]}"
cat > "$dir/.env.new" <<END
# What compose.yaml takes from outside. The passwords are in secrets/.
# Addresses on which the ports are published: this machine only. There are no accounts yet, so whoever reaches
# the frontend may use it.
BIND=127.0.0.1
FRONTEND_PORT=3000
# A range (8080-8089) lets "docker compose up --scale backend=3" publish each.
BACKEND_PORT=8080
GRAFANA_PORT=3001
# Host names under which the frontend is called beside localhost, separated by blanks.
SONDE_HOSTS=
# The access key's name in the S3 store; its secret is in secrets/s3_secret.
SONDE_BLOB_KEY_ID=$key_id
END
mv "$dir/.env.new" "$dir/.env"
echo "make-env: wrote $dir/.env and $dir/secrets/"
