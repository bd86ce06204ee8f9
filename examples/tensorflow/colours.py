"""A TensorFlow SavedModel, as `knight convert` and `knight quant` take it; its pictures become NCHW.

    python examples/tensorflow/colours.py out/colours
    knight convert -f tensorflow -m out/colours -c2chw --save-dir out
    knight --chip onnxruntime quant -m out/colours.onnx -uds examples/tensorflow/colours.py \\
        -if infer_colours -i 50 --save-dir out

The first line builds the net, which says which colour a picture has most of; its weights are chosen, not
trained. TensorFlow's nets read pictures as [batch, height, width, channel]; with -c2chw the ONNX model, and
so the infer function, has the channel first. Needs knight-quant[tensorflow].
"""

from __future__ import annotations

import sys

import numpy as np

from knight import onnx_infer_func


def write(folder: str) -> None:
    """Writes the SavedModel; the batch is open."""
    import tensorflow as tf

    own = 2 * np.eye(3, dtype=np.float32) - 2 / 3  # what a channel has above the mean of all

    class Colours(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(np.tile(own / 9, (3, 3, 1, 1)), name="kernel")
            self.weight = tf.Variable(own, name="weight")

        @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32, "picture")])
        def scores(self, picture):  # type: ignore[no-untyped-def]
            found = tf.nn.relu(tf.nn.conv2d(picture, self.kernel, strides=1, padding="VALID"))
            return {"scores": tf.matmul(tf.reduce_mean(found, [1, 2]), self.weight)}

    net = Colours()
    tf.saved_model.save(net, folder, signatures=net.scores)


def picture(seed: int) -> tuple[np.ndarray, int]:
    """float32 [1, 3, 16, 16] and the channel that is brightest."""
    array = np.random.default_rng(seed).uniform(0, 0.8, (3, 16, 16)).astype(np.float32)
    colour = seed % 3
    array[colour] += 0.2
    return array[None], colour


@onnx_infer_func.register("infer_colours")
def infer_colours(executor) -> float:  # type: ignore[no-untyped-def]
    """The share of colours that are told right, in percent."""
    right = 0
    for seed in range(executor.iteration):
        array, label = picture(seed)
        right += int(executor.forward(array)[0].argmax()) == label
    return 100.0 * right / executor.iteration


if __name__ == "__main__":
    write(sys.argv[1])
