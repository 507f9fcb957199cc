# Shared by the scripts of this directory; sourced, never run.

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
# Tests may keep their own cache; the default is ignored by git.
cache=${SAMEPAGE_GUEST_CACHE:-$root/.cache/guests}

die() {
    echo "$(basename -- "$0"): $*" >&2
    exit 1
}

usage_error() {
    echo "$(basename -- "$0"): $* (see --help)" >&2
    exit 2
}

# Prints the comment block at the top of the calling script.
show_help() {
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"
    exit 0
}

# need_number NAME VALUE LEAST MOST
need_number() {
    case $2 in
        '' | *[!0-9]*) usage_error "$1 takes a number, not '$2'" ;;
    esac
    { [ "$2" -ge "$3" ] && [ "$2" -le "$4" ]; } || usage_error "$1 must be from $3 to $4, not $2"
}

# need_command NAME PACKAGE
need_command() {
    command -v "$1" >/dev/null 2>&1 || die "$1 is missing; install Debian's package $2: apt-get install $2"
}
