#!/bin/sh
# Usage: test.sh [soak [MINUTES]] [--filter TEXT] [option of the test program...]
#
# Runs every test; needs Linux on x86-64, root and the .NET SDK 10. Installs what is missing from Debian's packages.
#   soak [MINUTES]   the long runs, MINUTES (default 30) for each test that knows how to take longer
#   --filter TEXT    only tests whose full name contains TEXT
# Other options go to the test programs as they are (--filter-class, --parallel none, ...).
# The last line is "N passed, N failed, N skipped". Exit code 0 when nothing failed and something ran.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$root"
results=$root/.cache/test-results
projects='Samepage.Tests Samepage.Linux.Tests'

stop() {
    echo "test.sh: $1" >&2
    exit "$2"
}

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"
    exit 0
fi
if [ "${1:-}" = soak ]; then
    shift
    minutes=30
    case ${1:-} in
        '' | -*) ;;
        *[!0-9]*) stop "soak takes a number of minutes, not '$1'" 2 ;;
        *) minutes=$1; shift ;;
    esac
    SAMEPAGE_SOAK_MINUTES=$minutes
    export SAMEPAGE_SOAK_MINUTES
fi
if [ "${1:-}" = --filter ]; then
    [ -n "${2:-}" ] || stop "--filter needs a part of a test's name" 2
    pattern="*$2*"
    shift 2
    set -- --filter-method "$pattern" "$@"
fi

[ "$(uname -s)" = Linux ] || stop "this needs Linux, not $(uname -s)" 3
[ "$(uname -m)" = x86_64 ] || stop "this needs an x86-64 machine, not $(uname -m)" 3
[ "$(id -u)" = 0 ] || stop "must run as root: sudo ./test.sh" 4
command -v dotnet >/dev/null || stop "the .NET SDK 10 is missing: install it (https://dot.net/download)" 3
dotnet --list-sdks | grep -q '^10\.' || stop "the .NET SDK is not version 10: install that (https://dot.net/download)" 3
# The test programs look for the runtime in the usual places only; dotnet on the PATH may be elsewhere.
DOTNET_ROOT=${DOTNET_ROOT:-$(dirname -- "$(readlink -f -- "$(command -v dotnet)")")}
export DOTNET_ROOT DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

# One line per package: its name, and a program or file it brings.
missing_packages() {
    while read -r package proof; do
        case $proof in
            /*) [ -e "$proof" ] || echo "$package" ;;
            *) command -v "$proof" >/dev/null || echo "$package" ;;
        esac
    done <<'LIST'
gcc gcc
libc6-dev /usr/include/x86_64-linux-gnu/sys/mman.h
qemu-system-x86 qemu-system-x86_64
busybox-static busybox
cpio cpio
xxhash xxhsum
libjemalloc2 /usr/lib/x86_64-linux-gnu/libjemalloc.so.2
python3 python3
util-linux flock
LIST
}

update_package_lists() {
    [ -z "${updated:-}" ] || return 0
    updated=yes
    apt-get -qq update >"$results/apt.log" 2>&1 || echo "test.sh: apt-get update failed; going on with what is known" >&2
}

install_missing() {
    packages=$(missing_packages | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null || stop "missing: $packages(Debian's names); install them" 3
    echo "installing from Debian: $packages"
    update_package_lists
    # shellcheck disable=SC2086 # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages >>"$results/apt.log" 2>&1 ||
        stop "cannot install $packages: $(tail -n 1 "$results/apt.log") (all of it: $results/apt.log)" 3
}

# Kernel and files for the guests; downloaded once. Without them the guest tests fail and say so.
prepare_guests() {
    [ -s .cache/guests/vmlinuz ] || update_package_lists
    examples/guests/prepare >/dev/null || echo "test.sh: no guests; their tests will fail" >&2
}

build() {
    echo "building"
    if ! dotnet build Samepage.slnx -c Release -v quiet >"$results/build.log" 2>&1; then
        grep -E 'error|warn' "$results/build.log" | sort -u >&2
        stop "the build failed (all of it: $results/build.log)" 1
    fi
}

# Processes that come from this directory, by what they run or by what they were told to run.
our_processes() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        { [ "$pid" != $$ ] && [ -n "$(readlink "$process/exe" 2>/dev/null)" ]; } || continue
        words=$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) || continue
        case "$(readlink "$process/exe") $words" in
            *"$root/out/"* | *"$root/tests/"* | *"$root/.cache/guests/"*) echo "process $pid: $words" ;;
        esac
    done
}

# All that a test could leave behind on the host: one line per fact.
host_state() {
    for knob in run sleep_millisecs pages_to_scan merge_across_nodes use_zero_pages max_page_sharing smart_scan \
        stable_node_chains_prune_millisecs advisor_mode advisor_max_cpu advisor_min_pages_to_scan \
        advisor_max_pages_to_scan advisor_target_scan_time; do
        [ ! -e "/sys/kernel/mm/ksm/$knob" ] || echo "/sys/kernel/mm/ksm/$knob: $(cat "/sys/kernel/mm/ksm/$knob")"
    done
    for setting in vm/max_map_count vm/unprivileged_userfaultfd kernel/yama/ptrace_scope vm/overcommit_memory; do
        [ ! -e "/proc/sys/$setting" ] || echo "/proc/sys/$setting: $(cat "/proc/sys/$setting")"
    done
    echo "transparent_hugepage: $(cat /sys/kernel/mm/transparent_hugepage/enabled)"
    cut -d' ' -f3- /proc/self/mountinfo | sed 's/^/mount /' | sort
    tail -n +2 /proc/sysvipc/sem /proc/sysvipc/msg 2>/dev/null | awk 'NF > 4 { print "System V object", $1, $2 }'
    find /tmp /run -maxdepth 1 -name 'samepage*' 2>/dev/null | sed 's/^/left behind: /' | sort
    our_processes
}

# What is different now; processes that are just ending get a moment.
host_differences() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        host_state >"$results/host.after"
        # Settings and mounts must be the same; of the rest only what is new matters.
        diff "$results/host.before" "$results/host.after" | sed -n 's/^</before: /p;s/^>/after: /p' |
            grep -v -E '^before: +(left behind|process|System V)' >"$results/host.diff" || true
        [ -s "$results/host.diff" ] || return 0
        sleep 1
    done
}

run_project() {
    project=$1
    shift
    program=tests/$project/bin/Release/net10.0/$project
    [ -x "$program" ] || stop "$program was not built" 1
    echo "running $project"
    code=0
    "$program" --no-progress --no-ansi --results-directory "$results" \
        --report-xunit --report-xunit-filename "$project.xml" "$@" || code=$?
    echo "$code" >"$results/$project.code"
}

rm -rf "$results"
mkdir -p "$results"
install_missing
prepare_guests
build
host_state >"$results/host.before"
for project in $projects; do
    run_project "$project" "$@"
done
host_differences
# shellcheck disable=SC2086 # one word per project
exec python3 tests/sum-results.py "$results" $projects
