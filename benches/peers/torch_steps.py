"""Times a step of PyTorch's optimizers, and of tridiagonal SONew written in plain PyTorch from the equations, on the
autoencoder's tensors or on one tensor (--values), in turns with `sonew bench`, and prints what each takes and the ratios. The same
for a whole step of training on 1000 images.

    pip install -r benches/peers/requirements.txt
    python3 benches/peers/torch_steps.py --sonew target/release/sonew --device cpu
"""

import argparse
import json
import statistics
import subprocess
import time

import torch

SIZES = [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
BATCH = 1000


class TridiagonalSonew(torch.optim.Optimizer):
    """m and the band of H are averages of g and g gᵀ, both bias-corrected; u = L D Lᵀ m; w loses lr u.

    L has ones on its diagonal and −ψ_j below, ψ_j = H_{j,j+1} / H_{j+1,j+1}; D_j = 1 / (H_jj − ψ_j H_{j,j+1}), or 1 / H_jj
    and no edge where that is not above γ H_jj.
    """

    def __init__(self, params, lr, beta1=0.9, beta2=0.99, epsilon=1e-8, gamma=1e-7):
        super().__init__(params, dict(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon, gamma=gamma))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                self.step_of(w, group)

    def step_of(self, w, group):
        g, state = w.grad.reshape(-1), self.state[w]
        if not state:
            state.update(t=0, m=torch.zeros_like(g), diagonal=torch.zeros_like(g), edge=torch.zeros_like(g[1:]))
        state["t"] += 1
        beta1, beta2, t = group["beta1"], group["beta2"], state["t"]
        state["m"].mul_(beta1).add_(g, alpha=1 - beta1)
        state["diagonal"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        state["edge"].mul_(beta2).addcmul_(g[:-1], g[1:], value=1 - beta2)
        correction = 1 / (1 - beta2**t)
        diagonal = correction * state["diagonal"] + group["epsilon"]
        edge = correction * state["edge"]
        m = state["m"] / (1 - beta1**t)
        w.view(-1).sub_(precondition(diagonal, edge, m, group["gamma"]), alpha=group["lr"])


def precondition(diagonal, edge, m, gamma):
    """L D Lᵀ m of a tridiagonal H."""
    psi = edge / diagonal[1:]
    pivot = diagonal.clone()
    pivot[:-1] -= psi * edge
    trusted = pivot > gamma * diagonal
    psi = torch.where(trusted[:-1], psi, 0)
    d = 1 / torch.where(trusted, pivot, diagonal)
    u = m.clone()
    u[:-1] -= psi * m[1:]
    u *= d
    inner = u[:-1].clone()
    u[1:] -= psi * inner
    return u


def check():
    """The inverse of X = L D Lᵀ has the band of H, which is what defines it."""
    generator = torch.Generator().manual_seed(1)
    g = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    h = g.T @ g / 200
    edge = h.diagonal(1)
    columns = [precondition(h.diagonal(), edge, column, 0.0) for column in torch.eye(12, dtype=torch.float64)]
    inverse = torch.linalg.inv(torch.stack(columns, 1))
    assert torch.allclose(inverse.diagonal(), h.diagonal()) and torch.allclose(inverse.diagonal(1), edge)


PEERS = {
    "torch adam, single": ("adam", lambda params: torch.optim.Adam(params, lr=1e-6, foreach=False)),
    "torch adam, foreach": ("adam", lambda params: torch.optim.Adam(params, lr=1e-6, foreach=True)),
    "torch adam, fused": ("adam", lambda params: torch.optim.Adam(params, lr=1e-6, fused=True)),
    "torch sgd, momentum": ("momentum", lambda params: torch.optim.SGD(params, lr=1e-6, momentum=0.9, foreach=True)),
    "torch tridiagonal sonew": ("tridiag-sonew", lambda params: TridiagonalSonew(params, lr=1e-6)),
}
TRAINED = ["torch adam, foreach", "torch tridiagonal sonew"]


def parameters(device, values=None):
    generator = torch.Generator().manual_seed(1)
    shapes = [shape for a, b in zip(SIZES, SIZES[1:]) for shape in [(b, a), (b,)]]
    params = []
    for shape in [(values,)] if values else shapes:
        w = torch.randn(shape, generator=generator).mul_(0.03).to(device).requires_grad_()
        w.grad = torch.randn(shape, generator=generator).to(device)
        params.append(w)
    return params


def training_loss(params, images):
    a, layers = images, len(params) // 2
    for i in range(layers):
        a = torch.nn.functional.linear(a, params[2 * i], params[2 * i + 1])
        if i + 1 not in (layers // 2, layers):
            a = torch.tanh(a)
    return torch.nn.functional.binary_cross_entropy_with_logits(a, images, reduction="sum") / len(images)


class Timed:
    """Something that is timed in batches of about a fifth of a second."""

    def __init__(self, work, device):
        self.work, self.device, self.batches = work, device, []
        for _ in range(3):
            self.run(1)
        self.count = max(1, round(0.2 / self.run(3)))

    def run(self, count):
        started = time.perf_counter()
        for _ in range(count):
            self.work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / count

    def measure(self):
        self.batches.append(self.run(self.count))


def of_torch(device, values):
    """The work of PyTorch: steps of optimizers, and on the autoencoder's tensors steps of training."""
    steps, training = {}, {}
    for name, (_, make) in PEERS.items():
        steps[name] = Timed(make(parameters(device, values)).step, device)
    if values:
        return steps, training
    images = torch.rand(BATCH, SIZES[0], generator=torch.Generator().manual_seed(2)).to(device)
    for name in TRAINED:
        params = parameters(device)
        optimizer = PEERS[name][1](params)

        def step(params=params, optimizer=optimizer):
            optimizer.zero_grad()
            training_loss(params, images).backward()
            optimizer.step()

        training[name] = Timed(step, device)
    return steps, training


def of_sonew(program, device, part, *more):
    command = [program, "bench", "--device", device, "--kernel", part, "--json", *more]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["bench"]


def steps_of_sonew(program, device, values):
    """The names and times of steps."""
    if not values:
        for found in of_sonew(program, device, "optimizer-step")["optimizers"]:
            yield found["optimizer"], found["seconds"]["median"]
        return
    for name, kernel in [("adam", "adam"), ("momentum", "momentum"), ("tridiag-sonew", "sonew-step")]:
        for found in of_sonew(program, device, kernel, "--size", str(values), "--band", "1")["kernels"]:
            if found["values"] == values:
                yield name, found["seconds"]["median"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sonew", default="target/release/sonew")
    parser.add_argument("--device", default="cpu", help="PyTorch's: cpu or cuda")
    parser.add_argument("--sonew-device", help="wgpu:cpu beside cpu, cuda:0 beside cuda unless given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--values", type=int, help="on one tensor of so many values instead of the autoencoder's")
    parser.add_argument("--threads", type=int, help="PyTorch's, on a processor")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    other = arguments.sonew_device or {"cpu": "wgpu:cpu", "cuda": "cuda:0"}[device.type]

    check()
    steps, training = of_torch(device, arguments.values)
    ours, ours_training = {}, {}
    for turn in range(arguments.rounds):
        print(f"round {turn + 1} of {arguments.rounds}", flush=True)
        for timed in [*steps.values(), *training.values()]:
            timed.measure()
        for name, seconds in steps_of_sonew(arguments.sonew, other, arguments.values):
            ours.setdefault(name, []).append(seconds)
        if not training:
            continue
        for time_of in of_sonew(arguments.sonew, other, "training-step")["training"]:
            if time_of["part"] == "step":
                ours_training.setdefault(time_of["optimizer"], []).append(time_of["seconds"]["median"])

    where = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name()
    print(f"\nPyTorch {torch.__version__} on {where}; sonew on {other}; medians of {arguments.rounds} rounds, in ms\n")
    for title, theirs, mine in [("optimizer step", steps, ours), ("training step", training, ours_training)]:
        if not theirs:
            continue
        print(f"{title:<26}{'PyTorch':>10}{'sonew':>10}{'PyTorch / sonew':>18}")
        for name, timed in theirs.items():
            a = 1e3 * statistics.median(timed.batches)
            b = 1e3 * statistics.median(mine[PEERS[name][0]])
            print(f"{name:<26}{a:>10.2f}{b:>10.2f}{a / b:>18.2f}")
        print()


if __name__ == "__main__":
    main()
