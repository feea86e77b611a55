#!/usr/bin/env bash
# Sets up a checkout of fleetprof on Debian 12/13 or Ubuntu 22.04/24.04: system packages, Python environment,
# BPF programs. Safe to run again: it does only what is missing, and takes well under two seconds when nothing is.
#
#   deploy/setup.sh run     what `make up` needs
#   deploy/setup.sh test    that, and what the tests need
#
# PYTHON=/path/to/python chooses the interpreter (3.11 or newer); VENV the folder of the environment (.venv).
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1
cd "$(dirname "$0")/.."

case "${1:-}" in
  run) extras=all ;;
  test) extras=all,dev ;;
  *) echo "usage: deploy/setup.sh run|test" >&2; exit 2 ;;
esac

readonly venv=${VENV:-.venv} log=build/setup.log
readonly stamp=$venv/.fleetprof-setup unavailable=build/setup.unavailable

# Without these nothing works: clang and libbpf's headers build the BPF programs.
packages=(clang llvm libbpf-dev make gcc libc6-dev)
# libbpf at run time; a release without libbpf 1.x (Ubuntu 22.04) has the bcc and perf backends only.
optional=(libbpf1)
declare -A package_of_command=()
if [ "$extras" != all ]; then
  packages+=(g++ iproute2 util-linux)
  optional+=(python3-bpfcc chromium-headless-shell bpftool systemd clickhouse-server zookeeper)
  # Programs whose stacks must be complete, with and without frame pointers.
  optional+=(lld musl-tools nginx-light redis-server redis-tools wrk)
  # Toolchains of the test workloads, unless the machine has its own.
  package_of_command=([prometheus-alertmanager]=prometheus-alertmanager [node]=nodejs [javac]=default-jdk-headless [rustc]=rustc [perf]=linux-perf)
fi

# --- showing what happens ------------------------------------------------------------------------------------

fail() { # MESSAGE HINT: says what happened and what to do
  printf 'fleetprof setup: %s\n  %s\n' "$1" "$2" >&2
  exit 1
}

step() { # TITLE COMMAND...: one line for the step, its output in the log, the log's end when it fails
  local title=$1 began=$SECONDS status=0
  shift
  [ -s "$log" ] || echo "Setting up fleetprof (details in $log):"
  printf '  %-20s' "$title"
  printf '\n=== %s: %s\n' "$title" "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  if [ "$status" = 0 ]; then
    printf 'done (%d s)\n' $((SECONDS - began))
    return
  fi
  printf 'failed\n\n' && tail -n 20 "$log" | sed 's/^/    /' >&2
  fail "\"$title\" failed with exit code $status; the last lines of $log are above." \
    "Mend what they say (most often: no network, or a full disk) and run it again; it goes on where it stopped."
}

# --- system packages -----------------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; fi
}

is_available() { # PACKAGE
  grep -q 'Candidate: [^(]' <<<"$(apt-cache policy "$1" 2>/dev/null)"
}

missing_of() { # PACKAGE...: prints those not installed, with one call for all
  local known package
  known=" $(dpkg-query -W -f='${Package}=${db:Status-Status} ' "$@" 2>/dev/null || true)"
  for package in "$@"; do
    [[ $known == *" $package=installed "* ]] || echo "$package"
  done
}

# Servers that tests start for themselves come in packages whose own service would start, too: invoke-rc.d and
# systemd's counterpart ask this file first (https://www.debian.org/doc/debian-policy/ch-opersys.html).
# shellcheck disable=SC2016 # the shell that apt-get runs in expands it
readonly no_services='
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap "rm -f $policy" EXIT
    printf "#!/bin/sh\nexit 101\n" >"$policy" && chmod 755 "$policy"
  fi
  "$@"'

apt_install() {
  as_root sh -c "$no_services" sh apt-get -o DPkg::Lock::Timeout=300 -y --no-install-recommends install "$@"
}

require_root() { # PACKAGE...: asks for sudo's password now rather than inside a step
  [ "$(id -u)" != 0 ] || return 0
  command -v sudo >/dev/null && sudo -v && return
  fail "installing packages needs root, and sudo does not give it." \
    "As root: apt-get install $*; then run this again."
}

install_packages() {
  local required wanted=() chosen=() command package
  mapfile -t required < <(missing_of "${packages[@]}")
  mapfile -t wanted < <(missing_of "${optional[@]}")
  for command in "${!package_of_command[@]}"; do
    command -v "$command" >/dev/null || wanted+=("${package_of_command[$command]}")
  done
  for package in "${wanted[@]}"; do
    grep -qsxF "$package" "$unavailable" || chosen+=("$package")
  done
  [ ${#required[@]} -gt 0 ] || [ ${#chosen[@]} -gt 0 ] || return 0
  require_root "${required[@]}" "${chosen[@]}"
  step "package lists" as_root apt-get -o DPkg::Lock::Timeout=300 update
  install_available "${chosen[@]}"
  [ ${#required[@]} = 0 ] || step "system packages" apt_install "${required[@]}"
}

install_available() { # PACKAGE...: those that this release has; the others are named and not asked for again
  local package available=()
  for package in "$@"; do
    if is_available "$package"; then
      available+=("$package")
    else
      echo "$package" >>"$unavailable"
      echo "  (this release has no package $package; going on without)"
    fi
  done
  [ ${#available[@]} = 0 ] || step "optional packages" apt_install "${available[@]}"
}

require_tools() { # where there is no apt: name what is missing
  local tool absent=()
  for tool in clang llvm-strip make gcc; do command -v "$tool" >/dev/null || absent+=("$tool"); done
  [ ${#absent[@]} = 0 ] || fail "this machine has no apt, and lacks ${absent[*]}." \
    "Install them and the headers of libbpf with the system's own packages, then run this again."
}

# --- Python --------------------------------------------------------------------------------------------------

works() { # PYTHON: new enough, and able to make environments (a pyenv shim may exist without its Python)
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 /usr/bin/python3}; do
    if works "$candidate"; then echo "$candidate"; return; fi
  done
  return 1
}

install_python() { # the newest Python ≥ 3.11 that the release has
  local version
  command -v apt-get >/dev/null || return 1
  require_root python3 python3-venv
  [ -n "$(find /var/lib/apt/lists -name '*Packages*' -print -quit 2>/dev/null)" ] ||
    step "package lists" as_root apt-get -o DPkg::Lock::Timeout=300 update
  for version in 3.13 3.12 3.11; do
    if is_available "python$version-venv"; then
      step "Python $version" apt_install "python$version" "python$version-venv"
      return
    fi
  done
  return 1
}

choose_python() {
  if [ -n "${PYTHON:-}" ] && ! works "$PYTHON"; then
    fail "PYTHON=$PYTHON is not Python 3.11 or newer with the modules venv and ensurepip." \
      "Name another one, or leave PYTHON unset to have one found."
  fi
  python=$(find_python) && return
  install_python && python=$(find_python) && return
  fail "fleetprof needs Python 3.11 or newer with venv; found $(python3 --version 2>/dev/null || echo none)." \
    "Debian 12, Ubuntu 24.04: apt-get install python3-venv. Ubuntu 22.04: apt-get install python3.11-venv. \
Or name one: PYTHON=/path/to/python3.11 make up"
}

make_environment() {
  [ -x "$venv/bin/python" ] && works "$venv/bin/python" && return
  choose_python
  rm -rf "$venv"
  step "Python environment" "$python" -m venv "$venv"
}

fingerprint() { # of all that decides what is installed into the environment, and where it lies
  { cat pyproject.toml setup.py; pwd; readlink -f "$venv/bin/python"; } | sha256sum | cut -d' ' -f1
}

install_distribution() {
  local now options=(--quiet --progress-bar off)
  now=$(fingerprint)
  # An environment for tests has all that a run needs.
  grep -qsE "^$now (all,dev|$extras)$" "$stamp" && return
  # Tests import a part of it: byte code for all 6500 files would take half a minute.
  [ "$extras" = all ] || options+=(--no-compile)
  step "Python packages" "$venv/bin/python" -m pip install "${options[@]}" -e ".[$extras]"
  echo "$now $extras" >"$stamp"
}

# --- BPF programs --------------------------------------------------------------------------------------------

build_bpf() {
  make --no-print-directory -q -C bpf 2>/dev/null && return
  step "BPF programs" make --no-print-directory -C bpf
}

# -------------------------------------------------------------------------------------------------------------

mkdir -p build
exec 9>build/setup.lock
flock -n 9 || { echo "Waiting for another set-up of this checkout to end."; flock 9; }
: >"$log"
if command -v apt-get >/dev/null; then install_packages; else require_tools; fi
build_bpf
make_environment
install_distribution
