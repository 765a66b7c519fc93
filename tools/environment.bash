# Sourced by the scripts of this folder: makes .venv with the package and the development tools.
#
# The environment is made anew only when pyproject.toml or constraints.txt has changed, so that a
# script which finds it ready loses a few milliseconds.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Images of containers set it: each of the many programs that tests start would compile the package
# anew, and each process that collects tests would rewrite their assertions (18 s of CPU each).
unset PYTHONDONTWRITEBYTECODE

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [[ -n "$candidate" ]] && command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "tools: Python 3.11 or newer is needed; name one with PYTHON=/path/to/python" >&2
    return 1
}

environment_stamp() {
    # The folder is part of it: an editable install points at one place.
    { echo "$ROOT"; cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt"; } | sha256sum
}

make_environment() {
    local python
    echo "tools: making the environment in .venv" >&2
    if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
        python="$(find_python)" || return 1
        "$python" -m venv --clear "$VENV" || {
            echo "tools: python -m venv failed; on Debian install python3-venv" >&2
            return 1
        }
    fi
    # Dependency groups are read by pip 25.1 and later; a fresh venv may hold an older one.
    "$VENV/bin/python" -m pip install -qq --upgrade 'pip>=25.1' || return 1
    (cd "$ROOT" && "$VENV/bin/python" -m pip install -qq -c constraints.txt -e . --group dev)
}

# The tools of a release, and those of the documents, have environments of their own: nothing else
# needs what they need.
ensure_release_tools() {
    RELEASE="$VENV/release"
    ensure_tools release "the tools of a release"
}

ensure_docs_tools() {
    DOCS="$VENV/docs"
    ensure_tools docs "the tools of the documents"
}

ensure_tools() { # dependency group, its name for people: the environment .venv/GROUP
    local tools="$VENV/$1"
    ensure_environment
    if [[ "$(cat "$tools/.stamp" 2>/dev/null)" != "$(environment_stamp)" ]]; then
        echo "tools: installing $2" >&2
        python -m venv --clear "$tools" || return 1
        "$tools/bin/python" -m pip install -qq --upgrade 'pip>=25.1' || return 1
        (cd "$ROOT" && "$tools/bin/python" -m pip install -qq -c constraints.txt --group "$1")
        environment_stamp >"$tools/.stamp"
    fi
}

ensure_environment() {
    local stamp
    stamp="$(environment_stamp)"
    if [[ "$(cat "$VENV/.stamp" 2>/dev/null)" != "$stamp" || ! -x "$VENV/bin/torrent-engine" ]]; then
        make_environment || return 1
        echo "$stamp" >"$VENV/.stamp"
    fi
    PATH="$VENV/bin:$PATH"
}
