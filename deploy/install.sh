#!/usr/bin/env bash
# Installs the fleetprof agent, or the collector with the web UI, as a systemd service on Debian 12/13 or Ubuntu
# 22.04/24.04. Safe to run again: it does what is missing, and brings in a newer package. See --help.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

here=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
readonly here prefix=/opt/fleetprof etc=/etc/fleetprof
role=agent package='' collector='' tls='' root='' start=yes dry='' action=install purge='' checked=yes

usage() {
  cat <<'TEXT'
usage: sudo deploy/install.sh [--agent | --collector] [options]

  --agent                    sample this host and push to a collector (the default)
  --collector                take what agents push, keep it, and serve the web UI
  --package WHEEL|NAME       what to install: a wheel file, or a name for pip such as fleetprof==0.1.0
                             (default: the newest dist/fleetprof-*.whl of this checkout, else fleetprof)
  --collector-address H:P    where the agent pushes to (default: as in /etc/fleetprof/agent.toml)
  --tls DIR                  the certificates that `fleetprof-collector certificates --out DIR` made
  --unchecked                install the agent although the collector does not answer yet
  --no-start                 do not enable and start the service
  --root DIR                 install into a tree, such as an image, by chroot; implies --no-start
  --dry-run                  only print what would be done
  --uninstall                stop and remove the service; settings and data stay
  --purge                    with --uninstall: remove settings, data and user, too
TEXT
}

fail() { # MESSAGE WHAT-TO-DO
  printf 'fleetprof install: %s\n  %s\n' "$1" "$2" >&2
  exit 1
}

say() { printf 'fleetprof install: %s\n' "$*"; }

# --- doing things, or showing them ---------------------------------------------------------------------------

run() { # COMMAND...: on this host
  if [ -n "$dry" ]; then
    printf '  would run: %s\n' "$*"
  else
    "$@"
  fi
}

inside() { # COMMAND...: on the installed system
  if [ -n "$root" ]; then run chroot "$root" "$@"; else run "$@"; fi
}

look() { # COMMAND...: the same for commands that change nothing, even in a dry run
  if [ -n "$root" ]; then chroot "$root" "$@"; else "$@"; fi
}

place() { # MODE SOURCE TARGET: copy a file unless it is there already
  cmp -s "$2" "$root$3" || run install -D -m "$1" "$2" "$root$3"
}

# --- what must be true before anything is changed -----------------------------------------------------------

check_host() {
  [ "$(id -u)" = 0 ] || fail "it must be run as root." "Run it again with sudo."
  if [ -n "$root" ] && [ ! -x "$root/usr/bin/env" ]; then
    fail "$root is no system tree." "Give --root a folder with one, such as debootstrap makes."
  fi
  if ! grep -qsE '^ID(_LIKE)?=.*\b(debian|ubuntu)\b' "$root/etc/os-release" || [ ! -x "$root/usr/bin/apt-get" ]; then
    fail "this is no Debian or Ubuntu: $(sed -n 's/^PRETTY_NAME=//p' "$root/etc/os-release" 2>/dev/null || echo unknown)." \
      "Elsewhere: make a Python environment in $prefix, pip-install fleetprof[agent] into it, and copy deploy/systemd."
  fi
  case $(uname -m) in
    x86_64 | aarch64) ;;
    *) fail "fleetprof is built for x86_64 and aarch64, not $(uname -m)." "There is nothing to install here." ;;
  esac
  [ "$start" = no ] || [ -d /run/systemd/system ] ||
    fail "systemd does not run this host, so no service can be started." \
      "In a container or chroot: add --no-start, and start $prefix/bin/fleetprof-agent yourself."
}

choose_package() {
  if [ -z "$package" ]; then
    # The newest by its time: version order would need what is not installed yet.
    package=$({ find "$here/../dist" "$here" -maxdepth 1 -name 'fleetprof-*.whl' -printf '%T@ %p\n' 2>/dev/null || true; } |
      sort -rn | head -n 1 | cut -d' ' -f2-)
    package=${package:-fleetprof}
  fi
  [[ $package != *.whl ]] || [ -r "$package" ] ||
    fail "there is no wheel $package." "Build one in a checkout (pip wheel --no-deps -w dist .), or give a name for pip."
}

check_tls() {
  [ -n "$tls" ] || return 0
  local name
  for name in ca.pem "$role.pem" "$role.key"; do
    [ -r "$tls/$name" ] || fail "$tls has no file $name." \
      "Make all of them where the collector is: fleetprof-collector certificates --out DIR --host NAME"
  done
}

check_collector() { # the address that was given, or that is configured
  [ "$role" = agent ] || return 0
  [ -n "$collector" ] || [ ! -r "$root$etc/agent.toml" ] ||
    collector=$(sed -n 's/^collector *= *"\(.*\)" *$/\1/p' "$root$etc/agent.toml" | head -n 1)
  collector=${collector:-127.0.0.1:4040}
  [[ $collector =~ ^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$ ]] ||
    fail "\"$collector\" is no address." "Write it as host:port, such as collector.example:4040."
  [ "$start" = yes ] && [ "$checked" = yes ] || return 0
  local host=${BASH_REMATCH[1]//[\[\]]/} port=${BASH_REMATCH[2]}
  # shellcheck disable=SC2016 # the inner shell expands it
  timeout 5 bash -c '</dev/tcp/"$0"/"$1"' "$host" "$port" 2>/dev/null ||
    fail "nothing answers at $collector, where the agent would push to." \
      "Start the collector there first, name another with --collector-address, or add --unchecked to install all the same."
}

# --- system packages -----------------------------------------------------------------------------------------

apt() { inside apt-get -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends "$@"; }

# shellcheck disable=SC2016 # dpkg-query expands it
has_package() { [ "$(look dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

is_available() { grep -q 'Candidate: [^(]' <<<"$(look apt-cache policy "$1" 2>/dev/null)"; }

is_new_python() { look "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if is_new_python "$candidate"; then echo "$candidate"; return; fi
  done
  return 1
}

install_packages() {
  local wanted=(ca-certificates) missing=() package
  [ "$role" = collector ] || wanted+=(libbpf1)
  find_python >/dev/null || wanted+=(python3-venv)
  for package in "${wanted[@]}"; do has_package "$package" || missing+=("$package"); done
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing system packages: ${missing[*]}"
    apt update
    for package in "${missing[@]}"; do
      if [ "$package" = libbpf1 ] && ! is_available libbpf1 && [ -z "$dry" ]; then
        say "this release has no libbpf 1.x: the agent will sample with backend perf."
      else
        apt install "$package"
      fi
    done
  fi
  [ -z "$dry" ] || return 0
  find_python >/dev/null || install_newer_python
}

install_newer_python() { # Ubuntu 22.04: its own python3 is 3.10
  local version
  for version in 3.13 3.12 3.11; do
    if is_available "python$version-venv"; then
      apt install "python$version" "python$version-venv"
      return
    fi
  done
  fail "this release has no Python 3.11 or newer." "Install one as python3.11 with its venv module, then run this again."
}

# --- fleetprof itself ----------------------------------------------------------------------------------------

extras() { # of this service and of the other one, if it is installed
  local wanted=()
  [ "$role" != agent ] && [ ! -e "$root/etc/systemd/system/fleetprof-agent.service" ] || wanted+=(agent)
  [ "$role" != collector ] && [ ! -e "$root/etc/systemd/system/fleetprof-collector.service" ] || wanted+=(ui)
  (IFS=,; echo "${wanted[*]}")
}

identity() { # of what is to be installed: the same wheel with the same extras is not installed again
  case $package in
    *.whl) printf '%s %s\n' "$(sha256sum <"$package" | cut -d' ' -f1)" "$1" ;;
    *) printf '%s %s\n' "$package" "$1" ;;
  esac
}

install_program() {
  local with now what stamp=$root$prefix/.installed
  with=$(extras)
  now=$(identity "$with")
  # A name without a version means the newest one there is, which only pip can tell.
  if [ -r "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && [[ $package == *.whl || $package == *==* ]]; then
    say "fleetprof is up to date in $prefix."
    return
  fi
  say "installing $(basename "$package") [$with] into $prefix"
  [ -x "$root$prefix/bin/python" ] || inside "$(find_python || echo python3)" -m venv "$prefix"
  what="${package}[$with]"
  if [[ $package == *.whl ]]; then
    run rm -rf "$root$prefix/packages"
    place 0644 "$package" "$prefix/packages/$(basename "$package")"
    what="$prefix/packages/$(basename "$package")[$with]"
    # The same version may be another build.
    inside "$prefix/bin/python" -m pip install --quiet --no-deps --force-reinstall "${what%\[*}"
  fi
  inside "$prefix/bin/python" -m pip install --quiet --upgrade --upgrade-strategy only-if-needed "$what"
  [ -n "$dry" ] || echo "$now" >"$stamp"
}

install_service() {
  place 0644 "$here/systemd/fleetprof-$role.sysusers" "/etc/sysusers.d/fleetprof-$role.conf"
  place 0644 "$here/systemd/fleetprof-$role.tmpfiles" "/etc/tmpfiles.d/fleetprof-$role.conf"
  place 0644 "$here/systemd/fleetprof-$role.service" "/etc/systemd/system/fleetprof-$role.service"
  inside systemd-sysusers "/etc/sysusers.d/fleetprof-$role.conf"
  install_settings
  inside systemd-tmpfiles --create "/etc/tmpfiles.d/fleetprof-$role.conf"
}

install_settings() { # what is there stays; only what was asked for is changed
  local file=$etc/$role.toml
  [ -e "$root$file" ] || place 0644 "$here/systemd/$role.toml" "$file"
  [ "$role" = collector ] || set_setting "$file" collector "$collector"
  [ -n "$tls" ] || return 0
  place 0644 "$tls/ca.pem" "$etc/tls/ca.pem"
  place 0644 "$tls/$role.pem" "$etc/tls/$role.pem"
  place 0400 "$tls/$role.key" "$etc/tls/$role.key"
  set_setting "$file" tls_certificate "$etc/tls/$role.pem"
  set_setting "$file" tls_key "$etc/tls/$role.key"
  set_setting "$file" "$([ "$role" = agent ] && echo tls_ca || echo tls_client_ca)" "$etc/tls/ca.pem"
}

set_setting() { # FILE NAME TEXT: set it where it stands, commented out or not, else above all tables
  local file=$root$1 line="$2 = \"$3\""
  if [ -n "$dry" ]; then
    printf '  would set: %s in %s\n' "$line" "$1"
  elif ! grep -qxF "$line" "$file"; then
    if grep -qE "^#?$2 *=" "$file"; then
      sed -i -E "0,/^#?$2 *=.*/s||$line|" "$file"
    else
      sed -i "1i $line" "$file"
    fi
  fi
}

# --- starting, and telling whether it works -------------------------------------------------------------------

start_service() {
  [ "$start" = yes ] || return 0
  say "starting fleetprof-$role.service"
  run systemctl daemon-reload
  run systemctl --quiet enable "fleetprof-$role.service"
  run systemctl restart "fleetprof-$role.service"
}

doctor() { # as the service would: its user, its capabilities
  local list
  [ -z "$dry" ] || { say "would end with: fleetprof-agent doctor"; return 0; }
  [ -e "$root/proc/self" ] || { say "/proc is not mounted in $root: not looking what this host offers."; return 0; }
  list=$(sed -n 's/^AmbientCapabilities=//p' "$here/systemd/fleetprof-agent.service" | tr '[:upper:]' '[:lower:]' |
    sed 's/cap_/+/g; s/ /,/g')
  look setpriv --reuid fleetprof-agent --regid fleetprof-agent --clear-groups --no-new-privs \
    --bounding-set "-all,$list" --inh-caps "-all,$list" --ambient-caps "-all,$list" \
    "$prefix/bin/fleetprof-agent" doctor ||
    fail "the agent is installed, but cannot sample here." "The lines marked off say why; most often the kernel is too old."
}

await_pages() { # the collector answers once its store is open
  [ "$start" = yes ] && [ -z "$dry" ] || return 0
  local left address
  address=$(systemctl show -p Environment --value fleetprof-collector.service | sed -n 's/.*FLEETPROF_HTTP=\([^ ]*\).*/\1/p')
  [ ! -r /etc/default/fleetprof-collector ] ||
    address=$(sed -n 's/^FLEETPROF_HTTP=//p' /etc/default/fleetprof-collector | tail -n 1 | grep . || echo "$address")
  address=${address/#0.0.0.0:/127.0.0.1:}
  for left in {60..0}; do
    "$prefix/bin/python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' \
      "http://$address/readyz" 2>/dev/null && { say "the web UI is at http://$address"; return 0; }
    [ "$left" = 0 ] || sleep 1
  done
  journalctl --no-pager -n 15 -u fleetprof-collector.service >&2 || true
  fail "the collector did not get ready within a minute." "The lines above say why; more: journalctl -u fleetprof-collector"
}

check_running() {
  [ "$start" = yes ] && [ -z "$dry" ] || return 0
  systemctl --quiet is-active "fleetprof-$role.service" && return
  journalctl --no-pager -n 15 -u "fleetprof-$role.service" >&2 || true
  fail "fleetprof-$role.service does not run." "The lines above say why; more: journalctl -u fleetprof-$role"
}

# --- removing --------------------------------------------------------------------------------------------------

uninstall() {
  local unit=/etc/systemd/system/fleetprof-$role.service other=agent
  [ "$role" = collector ] || other=collector
  [ "$start" = no ] || [ ! -e "$unit" ] || run systemctl --quiet disable --now "fleetprof-$role.service"
  run rm -f "$root$unit" "$root/etc/sysusers.d/fleetprof-$role.conf" "$root/etc/tmpfiles.d/fleetprof-$role.conf"
  [ "$start" = no ] || run systemctl daemon-reload
  [ -e "$root/etc/systemd/system/fleetprof-$other.service" ] || run rm -rf "$root${prefix:?}"
  if [ -n "$purge" ]; then
    run rm -rf "$root/var/lib/fleetprof-$role" "$root$etc/$role.toml" "$root$etc/tls/$role.pem" "$root$etc/tls/$role.key"
    [ -e "$root/etc/systemd/system/fleetprof-$other.service" ] || run rm -rf "$root${etc:?}"
    ! look getent passwd "fleetprof-$role" >/dev/null || inside userdel "fleetprof-$role"
  else
    say "settings stay in $etc, data in /var/lib/fleetprof-$role; --uninstall --purge removes them."
  fi
  say "fleetprof-$role is removed."
}

# ---------------------------------------------------------------------------------------------------------------

value() { # OPTION VALUE...: the value that must follow an option
  [ $# -gt 1 ] || fail "$1 needs a value." "See deploy/install.sh --help."
  echo "$2"
}

while [ $# -gt 0 ]; do
  case $1 in
    --agent) role=agent ;;
    --collector) role=collector ;;
    --package) package=$(value "$@"); shift ;;
    --collector-address) collector=$(value "$@"); shift ;;
    --tls) tls=$(value "$@"); shift ;;
    --root) root=$(value "$@"); start=no; shift ;;
    --unchecked) checked=no ;;
    --no-start) start=no ;;
    --dry-run) dry=yes ;;
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    -h | --help) usage && exit ;;
    *) fail "unknown option $1." "See deploy/install.sh --help." ;;
  esac
  shift
done

root=${root%/}
check_host
if [ "$action" = uninstall ]; then
  uninstall
  exit
fi
choose_package
check_tls
check_collector
install_packages
install_program
install_service
start_service
if [ "$role" = agent ]; then doctor; else await_pages; fi
check_running
say "done. Settings: $etc/$role.toml; log: journalctl -u fleetprof-$role"
