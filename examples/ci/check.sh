#!/usr/bin/env bash
# Converts a model, quantizes it, compares the two and says which threshold is not kept: one step for a CI system.
#
#   examples/ci/check.sh                                          the digits net, in ./build
#   MODEL=net.onnx SCRIPT=infer.py INFER=infer_net examples/ci/check.sh
#
# Everything is set by variables of the environment, those below. Keep BUILD/*_compare.html as an artefact and
# BUILD/*_compare.xml (JUnit) as the test result; both are written also where a threshold is not kept.
#
# Exit code, knight's own: 0 all thresholds kept, 3 one is not, 2 wrong options, 1 all else (no such file ...).
set -euo pipefail
examples=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

knight=${KNIGHT:-knight}
python=${PYTHON:-python3} # reads the result; any Python 3 will do
build=${BUILD:-build}

# The model, and the infer function that feeds it. FRAMEWORK: as for knight convert -f.
framework=${FRAMEWORK:-onnx}
model=${MODEL:-$examples/digits/digits.onnx}
script=${SCRIPT:-$examples/digits/infer_digits.py}
infer=${INFER:-infer_digits}

# Where it shall run, the forward calls to calibrate with and those to compare.
chip=${CHIP:-onnxruntime}
samples=${SAMPLES:-100}
checked=${CHECKED:-50}

# Thresholds: cos of every layer (0 to 1), loss of the metric (percent), SQNR of the outputs (dB). Empty is none.
min_cos=${MIN_COS-0.999}
max_loss=${MAX_LOSS-1}
min_sqnr=${MIN_SQNR-35}

thresholds=()
[ -z "$min_cos" ] || thresholds+=(--fail-under-cos "$min_cos")
[ -z "$max_loss" ] || thresholds+=(--fail-over-loss "$max_loss")
[ -z "$min_sqnr" ] || thresholds+=(--fail-under-sqnr "$min_sqnr")

name=$(basename -- "$model")
name=${name%.*}
float=$build/$name.onnx
quantized=$build/${name}_quantize.onnx
report=$build/${name}_compare
feed=(-uds "$script" -if "$infer")

rm -f -- "$report".html "$report".json "$report".csv "$report".xml # no earlier run's report passes for this one's
"$knight" convert -f "$framework" -m "$model" "${feed[@]}" --save-dir "$build"
"$knight" --chip "$chip" quant -m "$float" "${feed[@]}" -i "$samples" --save-dir "$build"
code=0
"$knight" compare -m "$float" -q "$quantized" "${feed[@]}" -i "$checked" "${thresholds[@]}" \
    --html "$report.html" --json "$report.json" --csv "$report.csv" --junit "$report.xml" || code=$?

# The verdict, from the JSON file; knight/compare/compare_schema.json says what it holds.
if [ -f "$report.json" ]; then
    "$python" - "$report.json" <<'END' || echo "check.sh: $python could not read $report.json" >&2
import json, sys

with open(sys.argv[1], encoding="utf-8") as file:
    found = json.load(file)
failed = [gate for gate in found["gates"] if not gate["passed"]]
print()
for gate in failed:
    print(f"threshold not kept: {gate['name']}: {gate['text']}")
for remedy in found["remedies"][:3] if failed else []:
    print(f"what to do: {remedy['text']}: {', '.join(remedy['layers'][:3])}")
if not failed:
    print(f"{len(found['gates'])} of {len(found['gates'])} thresholds kept")
END
    printf 'report: %s\n' "$report.html"
fi
exit "$code"
