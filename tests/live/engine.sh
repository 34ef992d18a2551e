#!/bin/bash
# A container engine of our own for the compose tests, on a Debian machine where root has none: `engine.sh start|stop DIR`.
#
# `start` prints the environment under which docker commands reach it, one NAME=VALUE a line; the engine listens on a
# socket in DIR alone, so that nothing else on the machine mistakes it for the machine's engine. `stop` ends it and gives
# the firewall back as it was. Debian 12 has the engine (docker.io) but neither Compose v2 nor buildx, which come from
# the next release's archive into DIR without touching the system. The base image is built from Debian packages, because
# no image registry need be reachable; it carries this machine's CA bundle, so that pip inside trusts what we trust.
set -euo pipefail

action=${1:?start or stop}
dir=${2:?a directory for the engine}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
export DOCKER_HOST="unix://$dir/docker.sock" DOCKER_CONFIG="$dir/config"
base_image=charging-twins/python:3.11-slim
bundle=/etc/ssl/certs/ca-certificates.crt

packages() {
  local missing=()
  for pair in dockerd:docker.io iptables:iptables mmdebstrap:mmdebstrap; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ "${#missing[@]}" -eq 0 ] || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$dir/apt.log" 2>&1
}

# The two command line plugins, unpacked from the release after this one (they need nothing but libc).
plugins() {
  local home="$DOCKER_CONFIG/cli-plugins" archive own
  [ -x "$home/docker-compose" ] && [ -x "$home/docker-buildx" ] && return
  mkdir -p "$home" "$dir/next/lists/partial" "$dir/next/cache/archives/partial" "$dir/next/unpacked"
  archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" >"$dir/next/sources.list"
  own=(-o "Dir::Etc::sourcelist=$dir/next/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root
       -o "Dir::State::lists=$dir/next/lists" -o "Dir::Cache=$dir/next/cache")
  apt-get "${own[@]}" update -qq
  (cd "$dir/next" && apt-get "${own[@]}" download -qq docker-compose docker-buildx)
  for package in "$dir"/next/*.deb; do dpkg-deb --extract "$package" "$dir/next/unpacked"; done
  cp "$dir"/next/unpacked/usr/libexec/docker/cli-plugins/docker-{compose,buildx} "$home/"
}

engine() {
  docker info >/dev/null 2>&1 && return
  # What the engine does to the firewall is undone from this copy.
  iptables-save >"$dir/firewall" 2>/dev/null || true
  cat /proc/sys/net/ipv4/ip_forward >"$dir/ip_forward"
  setsid dockerd --host "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/dockerd.pid" \
    </dev/null >"$dir/dockerd.log" 2>&1 &
  for _ in $(seq 150); do
    docker info >/dev/null 2>&1 && return
    kill -0 $! 2>/dev/null || break
    sleep 0.2
  done
  tail -n 3 "$dir/dockerd.log" >&2
  return 1
}

image() {
  docker image inspect "$base_image" >/dev/null 2>&1 && return
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,python3-pip,python-is-python3,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED "$1"/etc/resolv.conf "$1"/etc/hostname' \
    --customize-hook="upload $bundle $bundle" bookworm - 2>"$dir/mmdebstrap.log" |
    docker import --change "ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 PIP_CERT=$bundle SSL_CERT_FILE=$bundle" \
      - "$base_image" >/dev/null
}

start() {
  [ "$(id -u)" = 0 ] || { echo "only root can start an engine" >&2; return 1; }
  packages; plugins; engine; image
  printf '%s\n' "DOCKER_HOST=$DOCKER_HOST" "DOCKER_CONFIG=$DOCKER_CONFIG" "BASE_IMAGE=$base_image"
}

stop() {
  local pid; pid=$(cat "$dir/dockerd.pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  umount "$dir/exec/netns/default" 2>/dev/null || true
  # The engine leaves its chains and a closed FORWARD behind.
  [ ! -s "$dir/firewall" ] || iptables-restore <"$dir/firewall"
  [ -s "$dir/firewall" ] || { iptables -P FORWARD ACCEPT; iptables -F; iptables -t nat -F; iptables -X; iptables -t nat -X; } 2>/dev/null || true
  [ ! -s "$dir/ip_forward" ] || cat "$dir/ip_forward" >/proc/sys/net/ipv4/ip_forward
  ip link delete docker0 2>/dev/null || true
}

"$action"
