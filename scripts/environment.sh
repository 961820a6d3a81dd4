# Sourced by the other scripts: finds a Python, makes the virtual environment and installs facerec in it.
# Settings: PYTHON (the interpreter to start from), FACEREC_VENV (where the environment goes; .venv by default).

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "facerec needs Python 3.11 or later; set PYTHON to one" >&2
    return 1
}

# Installs torch's CPU build on a Linux machine without an NVIDIA driver, where pip is configured for an index that has
# it; elsewhere pip takes the build it finds, on Linux one for CUDA, some 5 GB larger.
take_cpu_torch() {
    local version
    version=$(sed -n 's/^torch==//p' constraints.txt)
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
        "$BIN/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==$version+cpu" \
            >/dev/null 2>&1 || echo "pip knows no index with torch's CPU build; it takes the build it finds" >&2
    fi
}

# prepare EXTRA: leaves the environment's bin folder in $BIN. Does nothing when it is up to date.
prepare() {
    local extra=$1 venv=${FACEREC_VENV:-.venv} python stamp
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python)
        "$python" -m venv "$venv" || {
            echo "cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
            return 1
        }
    fi
    BIN=$(cd "$venv" && pwd)/bin
    stamp=$(printf '%s\n' "$PWD" "$extra" | cat - pyproject.toml constraints.txt | cksum)
    if [ "$(cat "$venv/installed-$extra" 2>/dev/null)" != "$stamp" ]; then
        echo "installing facerec[$extra] into $venv (torch is large: some minutes on the first run)" >&2
        take_cpu_torch
        "$BIN/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools -e ".[$extra]"
        printf '%s' "$stamp" >"$venv/installed-$extra"
    fi
}
