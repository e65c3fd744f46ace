#!/bin/bash
# Whether the sonde of this container is ready: /readyz over bash's own sockets, since the image has neither curl nor wget.
#   healthcheck [HOST] [PORT]
set -u
exec 3<> "/dev/tcp/${1:-127.0.0.1}/${2:-8080}" || exit 1
printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r -t 4 _ status _ <&3 && [ "$status" = 200 ]
