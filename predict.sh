#!/bin/sh
# Label every scan of /workspace/inputs into /workspace/outputs, as FLARE runs it: sh predict.sh [--option value ...]
# Options are those of `python -m tools predict`. The variables are for other places than the container's.
set -eu
inputs=${INPUTS:-/workspace/inputs}
outputs=${OUTPUTS:-/workspace/outputs}
bundle=${BUNDLE:-bundles/fine_seg}
cd "$(dirname "$0")"

fail() {
    echo "error: $1" >&2
    exit 2
}

[ -d "$inputs" ] || fail "$inputs is no folder; mount the folder of scans there: -v /path/to/scans:$inputs:ro"
[ -r "$inputs" ] && [ -x "$inputs" ] ||
    fail "$inputs cannot be read by user $(id -u); make it readable, or start the container with --user \$(id -u)."
[ -n "$(ls "$inputs")" ] || fail "$inputs is empty; put scans (.nii.gz) or folders of DICOM series there."
[ -d "$outputs" ] || mkdir -p "$outputs" 2>/dev/null ||
    fail "$outputs is no folder and cannot be made; mount one there: -v /path/to/results:$outputs"
[ -w "$outputs" ] && [ -x "$outputs" ] ||
    fail "$outputs cannot be written by user $(id -u); make it writable, or start the container with --user \$(id -u)."

exec "${PYTHON:-python}" -m tools predict --bundle "$bundle" --input "$inputs" --output "$outputs" "$@"
