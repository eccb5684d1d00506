"""Writes traces of PyTorch's optimizers, to which `optimizers/tests/traces.rs` holds those of this repository: weights after each of 25
steps by stored gradients, in f64 from f32 numbers of a fixed seed.

    pip install -r benches/peers/requirements.txt
    python3 benches/peers/traces.py optimizers/tests/traces/torch.json
"""

import argparse
import json

import torch

STEPS, GATHERED = 25, 4
TENSORS = {"layer0.weight": [4, 3], "layer0.bias": [4], "layer1.weight": [2, 4], "layer1.bias": [2]}
BIASES = ["layer0.bias", "layer1.bias"]
# From a seed, so that some gradients are longer than the bounds, and some are not.
BOUNDS = {"clip-norm": 2.0, "clip-value": 0.5}


def numbers(tensor):
    return tensor.flatten().tolist()


def draw():
    generator = torch.Generator().manual_seed(5)
    drawn = lambda shape: torch.randn(shape, generator=generator)
    start = {name: drawn(shape) for name, shape in TENSORS.items()}
    scales = [4.0 ** (i % 5 - 3) for i in range(STEPS * GATHERED)]
    gradients = [{name: scale * drawn(shape) for name, shape in TENSORS.items()} for scale in scales]
    return start, gradients


def trace(start, gradients, optimizer, recipe, groups=(), frozen=()):
    """One trace: `recipe` as `Recipe` of this repository has it, `groups` of tensors whose settings differ, and `frozen` tensors."""
    weights = {name: torch.nn.Parameter(w.double()) for name, w in start.items()}
    for name in frozen:
        weights[name].requires_grad_(False)
    special = {name for group in groups for name in group["tensors"]}
    lr, decay = optimizer["lr"], optimizer.get("weight-decay", 0.0)
    split = [{"params": [weights[name] for name in TENSORS if name not in special]}]
    for group in groups:
        own = {"lr": lr * group.get("lr-scale", 1.0), "weight_decay": group.get("weight-decay", decay)}
        split.append({"params": [weights[name] for name in group["tensors"]], **own})
    if optimizer["name"] == "adam":
        torch_optimizer = torch.optim.AdamW(split, lr=lr, weight_decay=decay, eps=optimizer["epsilon"])
    else:
        assert decay == 0 and all(group.get("weight-decay", 0) == 0 for group in groups), "SGD's decay is not decoupled"
        torch_optimizer = torch.optim.SGD(split, lr=lr, momentum=optimizer["beta1"])
    model = torch.nn.ParameterList(list(weights.values()))
    averages, decay = None, recipe.get("average")
    if decay is not None:
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
        averages = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average)
    gathered = recipe.get("accumulate", 1)
    found, averaged = [], []
    moving = [w for w in weights.values() if w.requires_grad]
    for step in range(STEPS):
        torch_optimizer.zero_grad()
        for g in gradients[step * gathered : (step + 1) * gathered]:
            for name, w in weights.items():
                if w.requires_grad:
                    share = g[name].double() / gathered
                    w.grad = share if w.grad is None else w.grad + share
        if "clip-value" in recipe:
            torch.nn.utils.clip_grad_value_(moving, recipe["clip-value"])
        if "clip-norm" in recipe:
            torch.nn.utils.clip_grad_norm_(moving, recipe["clip-norm"])
        torch_optimizer.step()
        found.append([numbers(w.detach()) for w in weights.values()])
        if averages is not None:
            averages.update_parameters(model)
            averaged.append([numbers(w.detach()) for w in averages.module])
    written = {"optimizer": optimizer, "recipe": recipe, "groups": list(groups), "frozen": list(frozen), "weights": found}
    return written | ({"averages": averaged} if averaged else {})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    start, gradients = draw()
    adam = {"name": "adam", "lr": 0.01, "epsilon": 1e-8}
    momentum = {"name": "momentum", "lr": 0.01, "beta1": 0.9}
    norm, value = ({key: BOUNDS[key]} for key in ("clip-norm", "clip-value"))
    slow = {"tensors": BIASES, "lr-scale": 0.5}
    of = lambda *args, **kwargs: trace(start, gradients, *args, **kwargs)
    traces = {
        "adam, clipped by norm": of(adam, norm),
        "adam, clipped by value": of(adam, value),
        "adam, clipped by value, then by norm": of(adam, norm | value),
        "adam, the mean of four": of(adam, {"accumulate": GATHERED}),
        "adam, averaged": of(adam, {"average": 0.9}),
        "momentum, clipped by norm": of(momentum, norm),
        "momentum, the mean of four, clipped by value and norm, averaged": of(momentum, norm | value | {"accumulate": GATHERED, "average": 0.9}),
        "adam, biases apart": of(adam | {"weight-decay": 0.1}, {}, groups=[slow | {"weight-decay": 0.0}]),
        "momentum, biases apart": of(momentum, {}, groups=[slow]),
        "adam, a frozen tensor, clipped by norm": of(adam, norm, frozen=["layer0.weight"]),
    }
    file = {
        "source": f"torch {torch.__version__}, benches/peers/traces.py",
        "tensors": [{"name": name, "shape": shape} for name, shape in TENSORS.items()],
        "start": [numbers(w) for w in start.values()],
        "gradients": [[numbers(w) for w in g.values()] for g in gradients],
        "traces": [{"name": name} | it for name, it in traces.items()],
    }
    # Nine digits are all that f32 has.
    short = json.loads(json.dumps(file), parse_float=lambda text: float(f"{float(text):.9g}"))
    with open(parser.parse_args().out, "w") as out:
        json.dump(short, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
