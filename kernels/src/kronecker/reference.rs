//! The oracle of Shampoo: plain f64 loops from the formulas. Eigenvalues come from Jacobi rotations; nothing is shared
//! with the kernels.

/// A square matrix, row-major.
pub type Square = Vec<f64>;

/// A B of an (m × k) and a (k × n) matrix.
pub fn multiply(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    c
}

/// Aᵀ of an (m × n) matrix.
pub fn transpose(a: &[f64], m: usize, n: usize) -> Vec<f64> {
    (0..m * n).map(|at| a[(at % m) * n + at / m]).collect()
}

/// Eigenvalues and eigenvectors (in columns) of a symmetric matrix, by cyclic Jacobi rotations.
pub fn eigen(a: &[f64], n: usize) -> (Vec<f64>, Square) {
    let mut a = a.to_vec();
    let mut v: Square = (0..n * n)
        .map(|at| if at % (n + 1) == 0 { 1.0 } else { 0.0 })
        .collect();
    for _ in 0..100 {
        let off: f64 = (0..n * n)
            .filter(|at| at % (n + 1) != 0)
            .map(|at| a[at] * a[at])
            .sum();
        if off == 0.0 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p * n + q] == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * a[p * n + q]);
                let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                }
                // Exactly zero, so that small entries end the sweep.
                a[p * n + q] = 0.0;
                a[q * n + p] = 0.0;
                for k in 0..n {
                    let (x, y) = (v[k * n + p], v[k * n + q]);
                    v[k * n + p] = c * x - s * y;
                    v[k * n + q] = s * x + c * y;
                }
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), v)
}

/// (S + ridge · I)^{−1/p}, no eigenvalue of what is in brackets below ridge / 2.
pub fn inverse_root(s: &[f64], n: usize, p: u32, ridge: f64) -> Square {
    let (values, vectors) = eigen(s, n);
    let mut out = vec![0.0; n * n];
    for (k, value) in values.iter().enumerate() {
        let power = (value + ridge).max(0.5 * ridge).powf(-1.0 / f64::from(p));
        for i in 0..n {
            for j in 0..n {
                out[i * n + j] += power * vectors[i * n + k] * vectors[j * n + k];
            }
        }
    }
    out
}

/// The settings of a [`Shampoo`] step.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Decay of both momenta.
    pub beta1: f64,
    /// Decay of the statistics and of the graft's second moment.
    pub beta2: f64,
    /// The ridge relative to the largest eigenvalue; S starts at this times I.
    pub epsilon: f64,
    /// ε of the normalised RMSProp graft.
    pub graft_epsilon: f64,
    /// The first step, from 0 on, that descends along the preconditioned momentum.
    pub start: u64,
    /// Steps between roots.
    pub root_interval: u64,
}

/// Shampoo on one tensor as the benchmark ran it: statistics, roots if due, direction, normalised RMSProp graft, momenta.
#[derive(Clone, Debug)]
pub struct Shampoo {
    rows: usize,
    columns: usize,
    settings: Settings,
    /// L and, unless the tensor is a vector, R.
    pub statistics: Vec<Square>,
    /// Their roots, I before the first.
    pub roots: Vec<Square>,
    second: Vec<f64>,
    momentum: Vec<f64>,
    graft_momentum: Vec<f64>,
    step: u64,
}

impl Shampoo {
    /// For a matrix, or a vector if `columns` is 1.
    pub fn new(rows: usize, columns: usize, settings: Settings) -> Self {
        let sides = if columns == 1 {
            vec![rows]
        } else {
            vec![rows, columns]
        };
        let scaled = |n: usize, x: f64| {
            (0..n * n)
                .map(|at| if at % (n + 1) == 0 { x } else { 0.0 })
                .collect::<Square>()
        };
        Self {
            rows,
            columns,
            settings,
            statistics: sides.iter().map(|&n| scaled(n, settings.epsilon)).collect(),
            roots: sides.iter().map(|&n| scaled(n, 1.0)).collect(),
            second: vec![0.0; rows * columns],
            momentum: vec![0.0; rows * columns],
            graft_momentum: vec![0.0; rows * columns],
            step: 0,
        }
    }

    /// One step on the weights `w` with the gradient `g`. Roots that `keep_old` names are not renewed.
    pub fn step(&mut self, w: &mut [f64], g: &[f64], lr: f64, keep_old: &[usize]) {
        let Settings {
            beta1,
            beta2,
            epsilon,
            graft_epsilon,
            start,
            root_interval,
        } = self.settings;
        let (m, n) = (self.rows, self.columns);
        let gt = transpose(g, m, n);
        let grams = [multiply(g, &gt, m, n, m), multiply(&gt, g, n, m, n)];
        for (s, gram) in self.statistics.iter_mut().zip(&grams) {
            for (s, x) in s.iter_mut().zip(gram) {
                *s = beta2 * *s + (1.0 - beta2) * x;
            }
        }
        if self.step.is_multiple_of(root_interval) {
            let order = 2 * self.statistics.len() as u32;
            for (k, s) in self.statistics.iter().enumerate() {
                if keep_old.contains(&k) {
                    continue;
                }
                let size = if k == 0 { m } else { n };
                let largest = eigen(s, size).0.into_iter().fold(0.0, f64::max);
                self.roots[k] = inverse_root(s, size, order, epsilon * largest);
            }
        }
        let mut s = multiply(&self.roots[0], g, m, m, n);
        if let Some(right) = self.roots.get(1) {
            s = multiply(&s, right, m, n, n);
        }
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let length = norm(g) + 1e-16;
        let mut r = vec![0.0; g.len()];
        for i in 0..g.len() {
            let scaled = g[i] / length;
            self.second[i] = beta2 * self.second[i] + (1.0 - beta2) * scaled * scaled;
            r[i] = scaled / (self.second[i].sqrt() + graft_epsilon);
        }
        let scale = norm(&r) / (norm(&s) + 1e-16);
        for i in 0..g.len() {
            self.momentum[i] = beta1 * self.momentum[i] + (1.0 - beta1) * scale * s[i];
            self.graft_momentum[i] = beta1 * self.graft_momentum[i] + (1.0 - beta1) * r[i];
            let mu = if self.step >= start {
                self.momentum[i]
            } else {
                self.graft_momentum[i]
            };
            w[i] -= lr * mu;
        }
        self.step += 1;
    }
}
