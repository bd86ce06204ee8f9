"""The user script of the example net, written as for the vendor's tool: feeds digits, returns the accuracy.

Calibrates on the 100 calibration pictures; measures (`knight infer`, `knight compare`) on the 500 test
pictures. train.py says where the data are from.
"""

import os

import numpy as np
from onnx_quantize_tool.common.register import onnx_infer_func

HERE = os.path.dirname(os.path.abspath(__file__))


@onnx_infer_func.register("infer_digits")
def infer_digits(executor):
    """Accuracy in percent over at most `iteration` batches of `batch_size` pictures."""
    data = np.load(executor.dataset or os.path.join(HERE, "digits.npz"))
    part = "test" if executor.run_mode in ("infer", "compare") else "calibration"
    images = data[part + "_images"].astype(np.float32) / 16
    labels = data[part + "_labels"]
    batch_size = executor.batch_size
    correct, total = 0, 0
    for i in range(executor.iteration):
        batch = images[i * batch_size : (i + 1) * batch_size]
        if len(batch) == 0:
            break
        output = executor.forward(batch)  # one NumPy array per input; all outputs come back as a list
        correct += (np.argmax(output[0], axis=1) == labels[i * batch_size : (i + 1) * batch_size]).sum()
        total += len(batch)
        if executor.early_stop_flag:  # more samples would change nothing
            break
    return 100.0 * correct / total  # your metric, or nothing
