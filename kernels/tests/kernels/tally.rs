//! A snapshot of what became of each check in each precision.

use std::collections::BTreeMap;
use std::fmt::Write;

use sonew_kernels::contract::Check;

/// What a check is called.
pub fn case(check: &Check) -> String {
    format!("{} {}", check.kernel, check.case).trim().to_owned()
}

/// What a check is called, with what `precision` it is in.
pub fn name(check: &Check, precision: &str) -> String {
    format!("{}, {precision}", case(check))
}

/// What became of each check, and in which precision.
#[derive(Default)]
pub struct Tally(BTreeMap<String, Vec<(String, &'static str)>>);

impl Tally {
    pub fn note(&mut self, check: &Check, precision: &'static str, what: String) {
        self.0
            .entry(case(check))
            .or_default()
            .push((what, precision));
    }

    /// Of each check, the precisions that something became of.
    fn text(&self) -> String {
        let mut text = String::new();
        for (case, found) in &self.0 {
            writeln!(text, "{case}").unwrap();
            let mut left: Vec<_> = found.iter().collect();
            while let Some((what, _)) = left.first().copied() {
                let (these, others): (Vec<_>, _) = left.into_iter().partition(|it| it.0 == *what);
                let precisions: Vec<&str> = these.iter().map(|it| it.1).collect();
                writeln!(text, "  {what} in {}", precisions.join(", ")).unwrap();
                left = others;
            }
        }
        text
    }

    /// Holds all that was noted to the snapshot `name`.
    pub fn follows_snapshot(&self, name: &str) {
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            omit_expression => true,
            snapshot_path => "../snapshots",
        }, {
            insta::assert_snapshot!(name, self.text());
        });
    }
}
