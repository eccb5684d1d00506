//! The oracle of SONew: plain f64 loops over one tensor, from the paper's formulas. Nothing here is shared with the
//! kernels; the linear systems are solved by Gaussian elimination with pivoting.

use super::{Decay, EdgeRemoval, Tolerance};

/// Gradient statistics of one tensor of n values with a band of b: `edges[k][i]` couples i and i+1+k, and is 0 where
/// i+1+k ≥ n.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// First moment m, n values.
    pub moment: Vec<f64>,
    /// H_ii, n values.
    pub diagonal: Vec<f64>,
    /// H_{i,i+1+k}, b vectors of n values.
    pub edges: Vec<Vec<f64>>,
}

impl Statistics {
    /// All zero.
    pub fn zeros(n: usize, band: usize) -> Self {
        Self {
            moment: vec![0.0; n],
            diagonal: vec![0.0; n],
            edges: vec![vec![0.0; n]; band],
        }
    }

    /// Adds a gradient: m ← β₁ m + (1−β₁) g, H ← ρ H + ω P(g gᵀ).
    pub fn accumulate(&mut self, g: &[f64], beta1: f64, decay: Decay) {
        let (rho, omega) = decay.weights();
        let n = g.len();
        for i in 0..n {
            self.moment[i] = beta1 * self.moment[i] + (1.0 - beta1) * g[i];
            self.diagonal[i] = rho * self.diagonal[i] + omega * g[i] * g[i];
            for (k, edge) in self.edges.iter_mut().enumerate() {
                if i + 1 + k < n {
                    edge[i] = rho * edge[i] + omega * g[i] * g[i + 1 + k];
                }
            }
        }
    }

    /// The same with every `row` values a chain of their own, or all of them one if `row` is 0: the statistics of each row by
    /// themselves.
    pub fn accumulate_rows(&mut self, row: usize, g: &[f64], beta1: f64, decay: Decay) {
        let mut rows = self.rows(row);
        for (h, g) in rows.iter_mut().zip(chains(g, row)) {
            h.accumulate(g, beta1, decay);
        }
        *self = Self::joined(&rows, self.edges.len());
    }

    /// The statistics of each row, without what couples it to others.
    fn rows(&self, row: usize) -> Vec<Self> {
        let slices = |values: &[f64]| -> Vec<Vec<f64>> {
            chains(values, row).map(<[f64]>::to_vec).collect()
        };
        let edges: Vec<_> = self.edges.iter().map(|edge| slices(edge)).collect();
        let both = slices(&self.moment).into_iter().zip(slices(&self.diagonal));
        both.enumerate()
            .map(|(at, (moment, diagonal))| {
                let n = diagonal.len();
                let of_row = |(k, edge): (usize, &Vec<Vec<f64>>)| {
                    let mut edge = edge[at].clone();
                    edge[n.saturating_sub(k + 1)..].fill(0.0);
                    edge
                };
                Self {
                    moment,
                    diagonal,
                    edges: edges.iter().enumerate().map(of_row).collect(),
                }
            })
            .collect()
    }

    /// Rows as one tensor.
    fn joined(rows: &[Self], band: usize) -> Self {
        let all = |of: &dyn Fn(&Self) -> &[f64]| -> Vec<f64> {
            rows.iter().flat_map(|row| of(row).to_vec()).collect()
        };
        Self {
            moment: all(&|row| &row.moment),
            diagonal: all(&|row| &row.diagonal),
            edges: (0..band).map(|k| all(&|row| &row.edges[k])).collect(),
        }
    }

    /// Ĥ + ε: statistics times `correction`, ε added to the diagonal.
    pub fn damped(&self, correction: f64, epsilon: f64) -> Self {
        let mut damped = self.clone();
        for h in &mut damped.diagonal {
            *h = *h * correction + epsilon;
        }
        for edge in damped.edges.iter_mut().flatten() {
            *edge *= correction;
        }
        damped
    }

    /// ‖H‖₁, the largest sum of absolute values in a row of the symmetric band matrix.
    pub fn largest_row_sum(&self) -> f64 {
        let n = self.diagonal.len();
        let mut rows: Vec<f64> = self.diagonal.iter().map(|h| h.abs()).collect();
        for (k, edge) in self.edges.iter().enumerate() {
            for i in 0..n.saturating_sub(k + 1) {
                rows[i] += edge[i].abs();
                rows[i + k + 1] += edge[i].abs();
            }
        }
        rows.into_iter().fold(0.0, f64::max)
    }

    fn entry(&self, i: usize, j: usize) -> f64 {
        let (low, high) = (i.min(j), i.max(j));
        if low == high {
            self.diagonal[low]
        } else {
            self.edges[high - low - 1][low]
        }
    }

    /// H_jj − rᵀ G⁻¹ r and G⁻¹ r for the neighbour set `set` of j.
    fn schur(&self, j: usize, set: &[usize]) -> (f64, Vec<f64>) {
        self.schur_with(j, set, |_| 0.0)
    }

    /// The same with `added` to the entries of j and its neighbours.
    fn schur_with(&self, j: usize, set: &[usize], added: impl Fn(usize) -> f64) -> (f64, Vec<f64>) {
        let gram: Vec<Vec<f64>> = set
            .iter()
            .map(|&a| set.iter().map(|&c| self.entry(a, c)).collect())
            .collect();
        let r: Vec<f64> = set.iter().map(|&a| self.entry(j, a) + added(a)).collect();
        let psi = solve(gram, r.clone());
        let explained: f64 = r.iter().zip(&psi).map(|(r, psi)| r * psi).sum();
        (self.diagonal[j] - explained, psi)
    }

    /// Those of `candidates` (in increasing order) that the later ones among them do not already determine.
    fn informative(&self, candidates: &[usize], gamma: Tolerance) -> Vec<usize> {
        let mut set: Vec<usize> = Vec::new();
        for &a in candidates.iter().rev() {
            let (pivot, _) = self.schur(a, &set);
            if trusted(pivot, self.diagonal[a], gamma) {
                set.insert(0, a);
            }
        }
        set
    }
}

impl Statistics {
    /// ψ_j with the entry of j and j + b changed by the t of least size for which the pivot is `least`, found by bisection
    /// between no change and the change that makes the pivot largest.
    fn reweighted(&self, j: usize, band: usize, set: &[usize], least: f64) -> Option<Vec<f64>> {
        let far = set.iter().position(|&a| a == j + band)?;
        if self.entry(j, j + band) == 0.0 {
            return None;
        }
        let changed = |t: f64| self.schur_with(j, set, |a| if a == j + band { t } else { 0.0 });
        // The largest pivot is where ψ of that neighbour is 0; ψ is linear in t.
        let (at_0, at_1) = (changed(0.0).1[far], changed(1.0).1[far]);
        let best = at_0 / (at_0 - at_1);
        if changed(best).0 < least {
            return None;
        }
        let (mut low, mut high) = (0.0, best);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if changed(middle).0 < least {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(changed(high).1)
    }
}

/// X = L D Lᵀ with L_{j+1+k, j} = `−psi[k][j]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// ψ, b vectors of n values.
    pub psi: Vec<Vec<f64>>,
    /// D, n values.
    pub d: Vec<f64>,
    /// Vertices whose edges were cut (only those that had any).
    pub cut: Vec<usize>,
}

fn trusted(pivot: f64, h: f64, gamma: Tolerance) -> bool {
    pivot > gamma.absolute + gamma.relative * h
}

fn reciprocal(x: f64) -> f64 {
    // Below the least normal f32 a reciprocal is not representable there: such a pivot carries no information.
    if x >= f64::from(f32::MIN_POSITIVE) {
        1.0 / x
    } else {
        0.0
    }
}

/// The banded factor of damped statistics with edge removal at γ (Algorithm 3).
pub fn factor(h: &Statistics, gamma: Tolerance, removal: EdgeRemoval) -> Factor {
    let n = h.diagonal.len();
    let band = h.edges.len();
    let later = |j: usize| (j + 1..=(j + band).min(n - 1)).collect::<Vec<_>>();
    // K: the vertices whose pivot on the full neighbour set is undefined or too small.
    let failing: Vec<bool> = (0..n)
        .map(|j| {
            let set = h.informative(&later(j), gamma);
            !trusted(h.schur(j, &set).0, h.diagonal[j], gamma)
        })
        .collect();
    let mut out = Factor {
        psi: vec![vec![0.0; n]; band],
        d: vec![0.0; n],
        cut: Vec::new(),
    };
    for j in 0..n {
        let mut neighbours = later(j);
        match removal {
            EdgeRemoval::Outgoing | EdgeRemoval::Clamp | EdgeRemoval::Reweight => {}
            EdgeRemoval::Incident => neighbours.retain(|&a| !failing[a]),
        }
        let set = h.informative(&neighbours, gamma);
        let (pivot, psi) = h.schur(j, &set);
        // Whatever the set, no pivot at or below the tolerance is used.
        if failing[j] || !trusted(pivot, h.diagonal[j], gamma) {
            let least = gamma.absolute + gamma.relative * h.diagonal[j];
            let raised = match removal {
                EdgeRemoval::Outgoing | EdgeRemoval::Incident => None,
                _ if reciprocal(least) == 0.0 => None,
                EdgeRemoval::Clamp => Some(psi),
                EdgeRemoval::Reweight => h.reweighted(j, band, &set, least),
            };
            out.d[j] = reciprocal(if raised.is_some() {
                least
            } else {
                h.diagonal[j]
            });
            for (&a, value) in set.iter().zip(raised.unwrap_or_default()) {
                out.psi[a - j - 1][j] = value;
            }
            if later(j).iter().any(|&a| h.entry(j, a) != 0.0) {
                out.cut.push(j);
            }
            continue;
        }
        for (&a, value) in set.iter().zip(psi) {
            out.psi[a - j - 1][j] = value;
        }
        out.d[j] = reciprocal(pivot);
    }
    out
}

/// The chains of a tensor: every `row` values, or all of them if `row` is 0.
fn chains(values: &[f64], row: usize) -> impl Iterator<Item = &[f64]> {
    let row = if row == 0 { values.len() } else { row };
    values.chunks(row.max(1))
}

/// [`factor`] with every `row` values a chain of their own, or all of them one if `row` is 0: the factor of each row by itself.
pub fn factor_rows(h: &Statistics, row: usize, gamma: Tolerance, removal: EdgeRemoval) -> Factor {
    let band = h.edges.len();
    let mut whole = Factor {
        psi: vec![Vec::new(); band],
        d: Vec::new(),
        cut: Vec::new(),
    };
    for h in h.rows(row) {
        let part = factor(&h, gamma, removal);
        let start = whole.d.len();
        for (psi, of_row) in whole.psi.iter_mut().zip(part.psi) {
            psi.extend(of_row);
        }
        whole.d.extend(part.d);
        whole.cut.extend(part.cut.iter().map(|j| start + j));
    }
    whole
}

impl Factor {
    /// u = L D Lᵀ m.
    pub fn precondition(&self, m: &[f64]) -> Vec<f64> {
        let n = m.len();
        let y: Vec<f64> = (0..n)
            .map(|j| {
                let coupled: f64 = (self.psi.iter().enumerate())
                    .filter(|(k, _)| j + 1 + k < n)
                    .map(|(k, psi)| psi[j] * m[j + 1 + k])
                    .sum();
                self.d[j] * (m[j] - coupled)
            })
            .collect();
        (0..n)
            .map(|i| {
                let coupled: f64 = (self.psi.iter().enumerate())
                    .filter(|(k, _)| i > *k)
                    .map(|(k, psi)| psi[i - 1 - k] * y[i - 1 - k])
                    .sum();
                y[i] - coupled
            })
            .collect()
    }

    /// X = L D Lᵀ as a dense n × n matrix.
    pub fn dense(&self) -> Vec<Vec<f64>> {
        let n = self.d.len();
        let columns: Vec<Vec<f64>> = (0..n)
            .map(|j| {
                let mut unit = vec![0.0; n];
                unit[j] = 1.0;
                self.precondition(&unit)
            })
            .collect();
        (0..n)
            .map(|i| (0..n).map(|j| columns[j][i]).collect())
            .collect()
    }
}

/// Solves A x = b by Gaussian elimination with partial pivoting.
pub fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
            .unwrap_or(column);
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..n {
            let ratio = a[row][column] / a[column][column];
            let (above, below) = a.split_at_mut(row);
            for (x, y) in below[0][column..].iter_mut().zip(&above[column][column..]) {
                *x -= ratio * y;
            }
            b[row] -= ratio * b[column];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|j| a[row][j] * b[j]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}
