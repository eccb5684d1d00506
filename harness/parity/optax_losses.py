"""Trains the autoencoder with optax and with `sonew` from the same weights on the same batches, and compares the
losses of every step. Needs jax, optax, safetensors, numpy, and a raw IDX file of images (zstd -d the embedded one).

    python3 harness/parity/optax_losses.py --sonew target/release/sonew --data train-images-idx3-ubyte --steps 25
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import save_file

SIZES = [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
OPTIMIZERS = {  # learning rate, extra --set, optax
    "sgd": (1e-3, {}, lambda lr: optax.sgd(lr)),
    "momentum": (1e-3, {}, lambda lr: optax.sgd(lr, momentum=0.9)),
    "nesterov": (1e-3, {}, lambda lr: optax.sgd(lr, momentum=0.9, nesterov=True)),
    "adagrad": (1e-2, {}, lambda lr: optax.adagrad(lr, initial_accumulator_value=0.1, eps=1e-7)),
    "rmsprop": (1e-4, {}, lambda lr: optax.rmsprop(lr, decay=0.9, momentum=0.9, eps=1e-8)),
    "adam": (1e-3, {}, lambda lr: optax.adam(lr, b1=0.9, b2=0.999, eps=1e-8)),
}


def loss_of(params, x):
    a, layers = x, len(params)
    for i, (w, b) in enumerate(params):
        a = jnp.matmul(a, w.T, precision="highest") + b
        if i + 1 not in (layers // 2, layers):
            a = jnp.tanh(a)
    return (jnp.maximum(a, 0) - a * x + jnp.log1p(jnp.exp(-jnp.abs(a)))).sum(1).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sonew", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--batch", type=int, default=1000)
    options = parser.parse_args()
    pixels = np.fromfile(options.data, np.uint8)[16:].reshape(-1, 784)
    rng = np.random.default_rng(0)
    start = []
    for n, m in zip(SIZES, SIZES[1:]):
        bound = (6 / (n + m)) ** 0.5
        start.append((rng.uniform(-bound, bound, (m, n)).astype(np.float32), np.zeros(m, np.float32)))
    order = np.stack([rng.permutation(len(pixels))[: options.batch] for _ in range(options.steps)]).astype(np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        arrays = {f"{name}{i}": v for i, pair in enumerate(start) for name, v in zip("wb", pair)}
        save_file(arrays, folder / "init.safetensors")
        save_file({"order": order}, folder / "order.safetensors")
        for name, (lr, settings, make) in OPTIMIZERS.items():
            command = [options.sonew, "train", "--optimizer", name, "--lr", str(lr), "--schedule", "constant",
                       "--epochs", "1", "--steps", str(options.steps), "--batch", str(options.batch),
                       "--init", folder / "init.safetensors", "--order", folder / "order.safetensors",
                       "--log-steps", "--quiet", "--out", folder / name]
            for key, value in settings.items():
                command += ["--set", f"{key}={value}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            ours = [json.loads(line)["loss"] for line in (folder / name / "log.jsonl").open() if '"step"' in line]

            transform = make(lr)

            @jax.jit
            def step(params, state, x):
                loss, grads = jax.value_and_grad(loss_of)(params, x)
                updates, state = transform.update(grads, state, params)
                return optax.apply_updates(params, updates), state, loss

            params = jax.tree.map(jnp.asarray, start)
            state = transform.init(params)
            theirs = []
            for batch in order:
                params, state, loss = step(params, state, jnp.asarray(pixels[batch] / np.float32(255)))
                theirs.append(float(loss))
            worst = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
            print(f"{name:10} {options.steps} steps: loss {theirs[0]:.3f} to {theirs[-1]:.3f}, "
                  f"largest relative difference {worst:.1e}")


main()
