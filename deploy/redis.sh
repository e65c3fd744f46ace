#!/bin/sh
# Starts Redis with a password that stands in no argument: its configuration comes through standard input.
# Nothing here is the only copy of anything, so nothing is saved; what is used least goes first.
set -eu
{
  printf 'requirepass %s\n' "$(cat /run/secrets/cache_password)"
  printf '%s\n' 'bind * -::*' 'port 6379' 'save ""' 'appendonly no' 'dir /tmp' \
    'maxmemory 128mb' 'maxmemory-policy allkeys-lru' 'tcp-keepalive 30'
} | exec redis-server -
