"""The five stages one by one: one pass over the data, then as many ways to quantize as one likes.

$ python examples/stages.py
recipe           | method  | SQNR dB | metric | integer operators
all in 8 bits    | min_max | 43.80   | 100.0  | 13 of 13
all in 8 bits    | mse     | 43.44   | 100.0  | 13 of 13
all in 8 bits    | kl      | 43.80   | 100.0  | 13 of 13
first in float   | min_max | 44.18   | 100.0  | 12 of 13
first in float   | mse     | 44.17   | 100.0  | 12 of 13
first in float   | kl      | 44.65   | 100.0  | 12 of 13
"""

from pathlib import Path

import numpy as np

import knight

DIGITS = Path(__file__).resolve().parent / "digits"
METHODS = ("min_max", "mse", "kl")
RECIPES = {"all in 8 bits": knight.Recipe(), "first in float": knight.Recipe(keep_first=1)}


def infer(executor: knight.Executor) -> float:
    """Accuracy in percent over the calibration pictures."""
    data = np.load(DIGITS / "digits.npz")
    pictures, labels = data["calibration_images"].astype(np.float32) / 16, data["calibration_labels"]
    scores = [executor.forward(pictures[i : i + 1])[0] for i in range(executor.iteration)]
    return 100.0 * float(np.mean(np.argmax(np.concatenate(scores), axis=1) == labels[: executor.iteration]))


def main() -> None:
    """Observes once, realizes and measures every recipe with every method."""
    target = knight.load_target("onnxruntime")
    prepared = knight.prepare_model(knight.load_model(DIGITS / "digits.onnx"), target)
    plans = {
        (name, method): knight.make_plan(prepared, target, recipe.with_method(method))
        for name, recipe in RECIPES.items()
        for method in METHODS
    }
    print("recipe           | method  | SQNR dB | metric | integer operators")
    with knight.observe(prepared, plans.values(), infer, knight.RunSettings(iteration=100)) as seen:
        for (name, method), plan in plans.items():
            quantized = knight.realize(prepared, plan, seen.statistics)
            found = knight.measure(quantized, infer, seen)
            integer, left = found.coverage.integer, len(found.coverage.float_operators)
            print(
                f"{name:<16} | {method:<7} | {found.agreement.sqnr_db():<7.2f} | {found.metric:<6.1f} "
                f"| {integer} of {integer + left}"
            )


if __name__ == "__main__":
    main()
