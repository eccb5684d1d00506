"""Times a step of PyTorch's optimizers, and of tridiagonal SONew written in plain PyTorch from the equations and compiled by it
(torch.compile), on the autoencoder's tensors or on one tensor (--values), in turns with `sonew bench`, and prints what each takes
and the ratios. The same for a whole step of training on 1000 images. On a GPU each also as a CUDA graph, by CUDA's own clock.

    pip install -r benches/peers/requirements.txt
    python3 benches/peers/torch_steps.py --sonew target/release/sonew --device cpu
    python3 benches/peers/torch_steps.py --sonew target/release/sonew --device cuda --values 16777216
"""

import argparse
import json
import statistics
import subprocess
import time

import torch
import torch._dynamo

SIZES = [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
BATCH = 1000
# Each shape is compiled by itself.
torch._dynamo.config.recompile_limit = 64


def update(w, g, t, m, diagonal, edge, *, lr, beta1, beta2, epsilon, gamma):
    """A step of one tensor: moves w, and updates its states in place."""
    t += 1
    m.mul_(beta1).add_(g, alpha=1 - beta1)
    diagonal.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    edge.mul_(beta2).addcmul_(g[:-1], g[1:], value=1 - beta2)
    correction = 1 / (1 - beta2**t)
    direction = precondition(correction * diagonal + epsilon, correction * edge, m / (1 - beta1**t), gamma)
    w.sub_(direction, alpha=lr)


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


class TridiagonalSonew(torch.optim.Optimizer):
    """m and the band of H are averages of g and g gᵀ, both bias-corrected; u = L D Lᵀ m; w loses lr u.

    L has ones on its diagonal and −ψ_j below, ψ_j = H_{j,j+1} / H_{j+1,j+1}; D_j = 1 / (H_jj − ψ_j H_{j,j+1}), or 1 / H_jj
    and no edge where that is not above γ H_jj.
    """

    def __init__(self, params, lr, beta1=0.9, beta2=0.99, epsilon=1e-8, gamma=1e-7):
        super().__init__(params, dict(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon, gamma=gamma))

    update = staticmethod(update)

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            numbers = {key: group[key] for key in ["lr", "beta1", "beta2", "epsilon", "gamma"]}
            for w in group["params"]:
                g, state = w.grad.view(-1), self.state[w]
                if not state:
                    # The count is on the device, so that a graph can go on counting.
                    count = torch.zeros((), device=g.device)
                    state.update(t=count, m=torch.zeros_like(g), diagonal=torch.zeros_like(g), edge=torch.zeros_like(g[1:]))
                self.update(w.view(-1), g, state["t"], state["m"], state["diagonal"], state["edge"], **numbers)


class CompiledSonew(TridiagonalSonew):
    """The same, each tensor's update as few kernels as the compiler finds."""

    update = staticmethod(torch.compile(update, dynamic=False))


def check():
    """The inverse of X = L D Lᵀ has the band of H, which is what defines it; and what is compiled computes the same."""
    generator = torch.Generator().manual_seed(1)
    g = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    h = g.T @ g / 200
    edge = h.diagonal(1)
    columns = [precondition(h.diagonal(), edge, column, 0.0) for column in torch.eye(12, dtype=torch.float64)]
    inverse = torch.linalg.inv(torch.stack(columns, 1))
    assert torch.allclose(inverse.diagonal(), h.diagonal()) and torch.allclose(inverse.diagonal(1), edge)
    weights = []
    for kind in [TridiagonalSonew, CompiledSonew]:
        w = torch.zeros(1000, requires_grad=True)
        # With ε no pivot is small, where rounding would decide.
        optimizer = kind([w], lr=0.1, epsilon=0.1)
        for seed in range(3):
            w.grad = torch.randn(1000, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
        weights.append(w.detach())
    assert torch.allclose(*weights, rtol=1e-4, atol=1e-5)


def adam(params, **form):
    """Adam whose count of steps is where its states are, so that a CUDA graph can hold it."""
    return torch.optim.Adam(params, lr=1e-6, capturable=params[0].is_cuda, **form)


PEERS = {
    "torch adam, single": ("adam", lambda params: adam(params, foreach=False)),
    "torch adam, foreach": ("adam", lambda params: adam(params, foreach=True)),
    "torch adam, fused": ("adam", lambda params: adam(params, fused=True)),
    "torch sgd, momentum": ("momentum", lambda params: torch.optim.SGD(params, lr=1e-6, momentum=0.9, foreach=True)),
    "torch tridiagonal sonew": ("tridiag-sonew", lambda params: TridiagonalSonew(params, lr=1e-6)),
    "torch sonew, compiled": ("tridiag-sonew", lambda params: CompiledSonew(params, lr=1e-6)),
}
TRAINED = ["torch adam, foreach", "torch adam, fused", "torch tridiagonal sonew", "torch sonew, compiled"]


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
    """Something that is timed in batches of about a fifth of a second: by CUDA's events on a GPU, else by the clock."""

    def __init__(self, work, device):
        self.work, self.device, self.batches = work, device, []
        for _ in range(3):
            self.run(1)
        self.count = max(1, round(0.2 / self.run(3)))

    def run(self, count):
        if self.device.type != "cuda":
            started = time.perf_counter()
            for _ in range(count):
                self.work()
            return (time.perf_counter() - started) / count
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            self.work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / count

    def measure(self):
        self.batches.append(self.run(self.count))


def graph_of(work):
    """The same work as one launch of a CUDA graph; it has to have run before, so that nothing is allocated or compiled in it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def timed(work, device):
    """In what forms a work is timed: as it is, and on a GPU as a graph."""
    forms = {"": Timed(work, device)}
    if device.type == "cuda":
        forms[", graph"] = Timed(graph_of(work), device)
    return forms


def of_torch(device, values):
    """The work of PyTorch: steps of optimizers, and on the autoencoder's tensors steps of training."""
    steps, training = {}, {}
    for name, (_, make) in PEERS.items():
        for form, step in timed(make(parameters(device, values)).step, device).items():
            steps[name, form] = step
    if values:
        return steps, training
    images = torch.rand(BATCH, SIZES[0], generator=torch.Generator().manual_seed(2)).to(device)
    for name in TRAINED:
        params = parameters(device)
        optimizer = PEERS[name][1](params)

        def step(params=params, optimizer=optimizer):
            # Gradients keep their memory, as a graph needs it.
            optimizer.zero_grad(set_to_none=False)
            training_loss(params, images).backward()
            optimizer.step()

        for form, whole in timed(step, device).items():
            training[name, form] = whole
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
    torch.backends.cuda.matmul.allow_tf32 = False
    steps, training = of_torch(device, arguments.values)
    ours, ours_training = {}, {}
    for turn in range(arguments.rounds):
        print(f"round {turn + 1} of {arguments.rounds}", flush=True)
        for work in [*steps.values(), *training.values()]:
            work.measure()
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
        print(f"{title:<32}{'PyTorch':>10}{'sonew':>10}{'PyTorch / sonew':>18}")
        for (name, form), work in theirs.items():
            a = 1e3 * statistics.median(work.batches)
            b = 1e3 * statistics.median(mine[PEERS[name][0]])
            print(f"{name + form:<32}{a:>10.3f}{b:>10.3f}{a / b:>18.2f}")
        print()


if __name__ == "__main__":
    main()
