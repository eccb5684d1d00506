//! How far a run is: a bar where somebody watches, plain lines in a file or a pipe, nothing with `--quiet`.
//! Everything goes to standard error, so that standard output stays for results.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::process::streams::note;

/// Plain lines within an epoch are at least this far apart.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// The speed shown is that of about the last second.
const SPEED_INTERVAL: Duration = Duration::from_secs(1);

/// Reports how far a run is.
pub struct Progress {
    output: Output,
    loss: Option<f32>,
    speed: Speed,
    /// What several examples are called.
    examples: &'static str,
}

enum Output {
    Quiet,
    Bar(ProgressBar),
    Plain(PlainLines),
}

impl Progress {
    /// Starts to report on a run of `total_steps` steps, `done` of which were taken before, over examples that are called so; with
    /// `quiet`, reports nothing at all.
    pub fn start(total_steps: usize, done: usize, examples: &'static str, quiet: bool) -> Self {
        let now = Instant::now();
        let output = if quiet {
            Output::Quiet
        } else if stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(
                Some(total_steps as u64),
                ProgressDrawTarget::stderr(),
            );
            if let Ok(style) =
                ProgressStyle::with_template("{wide_bar} {pos}/{len} steps{msg}, {eta} left")
            {
                bar.set_style(style);
            }
            bar.set_position(done as u64);
            bar.reset_eta();
            Output::Bar(bar)
        } else {
            Output::Plain(PlainLines::new(total_steps, done, now))
        };
        Self {
            output,
            loss: None,
            speed: Speed::new(now),
            examples,
        }
    }

    /// Reports that `steps` steps are done in all. `loss` is the newest one if it was read from the device, `count`
    /// the number of examples this step took.
    pub fn step(&mut self, steps: usize, loss: Option<f32>, count: usize) {
        self.loss = loss.or(self.loss);
        let now = Instant::now();
        match &mut self.output {
            Output::Quiet => {}
            Output::Bar(bar) => {
                if self.speed.add(count, now) || loss.is_some() {
                    bar.set_message(self.speed.message(self.loss, self.examples));
                }
                bar.set_position(steps as u64);
            }
            Output::Plain(plain) => {
                self.speed.add(count, now);
                if plain.is_due(now) {
                    note(&plain.line(steps, &self.speed.message(self.loss, self.examples), now));
                }
            }
        }
    }

    /// Reports the end of an epoch in one line that stays.
    pub fn epoch(&mut self, line: &str) {
        match &mut self.output {
            Output::Quiet => {}
            // Unlike `println`, this also works where the bar is too young to have been drawn.
            Output::Bar(bar) => bar.suspend(|| note(line)),
            Output::Plain(plain) => {
                note(line);
                plain.last = Instant::now();
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Output::Bar(bar) = self.output {
            bar.finish_and_clear();
        }
    }
}

/// When the next plain line is due, and how it reads.
struct PlainLines {
    total_steps: usize,
    /// Steps taken before.
    done: usize,
    start: Instant,
    last: Instant,
}

impl PlainLines {
    fn new(total_steps: usize, done: usize, now: Instant) -> Self {
        Self {
            total_steps,
            done,
            start: now,
            last: now,
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.last) >= PLAIN_INTERVAL;
        if due {
            self.last = now;
        }
        due
    }

    fn line(&self, steps: usize, message: &str, now: Instant) -> String {
        let taken = steps.saturating_sub(self.done).max(1);
        let per_step = now.duration_since(self.start).as_secs_f64() / taken as f64;
        let left = per_step * self.total_steps.saturating_sub(steps) as f64;
        format!(
            "step {steps}/{}{message}, {} left",
            self.total_steps,
            clock(left)
        )
    }
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Examples per second over the last interval.
struct Speed {
    since: Instant,
    count: usize,
    per_second: Option<f64>,
}

impl Speed {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            count: 0,
            per_second: None,
        }
    }

    /// Counts examples; true if the speed was measured anew.
    fn add(&mut self, count: usize, now: Instant) -> bool {
        self.count += count;
        let passed = now.duration_since(self.since);
        let measured = passed >= SPEED_INTERVAL;
        if measured {
            let per_second = self.count as f64 / passed.as_secs_f64();
            *self = Self {
                since: now,
                count: 0,
                per_second: Some(per_second),
            };
        }
        measured
    }

    /// What is known of a loss and of the speed.
    fn message(&self, loss: Option<f32>, examples: &str) -> String {
        let loss = loss.map(|loss| format!(", loss {loss:.2}"));
        let speed = self.per_second.map(|it| format!(", {it:.0} {examples}/s"));
        loss.unwrap_or_default() + &speed.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_come_at_most_every_ten_seconds() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut plain = PlainLines::new(6000, 0, start);
        let due: Vec<bool> = [1, 9, 10, 11, 19, 20, 45]
            .iter()
            .map(|&s| plain.is_due(after(s)))
            .collect();
        assert_eq!(due, [false, false, true, false, false, true, true]);
    }

    #[test]
    fn a_plain_line_says_step_loss_speed_and_time_left() {
        let start = Instant::now();
        let plain = PlainLines::new(6000, 0, start);
        let mut speed = Speed::new(start);
        assert_eq!(speed.message(None, "images"), "");
        speed.per_second = Some(59_400.2);
        let line = plain.line(
            60,
            &speed.message(Some(544.743), "images"),
            start + Duration::from_secs(10),
        );
        assert_eq!(
            line,
            "step 60/6000, loss 544.74, 59400 images/s, 16 min 30 s left"
        );
        let resumed = PlainLines::new(6000, 5940, start);
        let line = resumed.line(5950, "", start + Duration::from_secs(10));
        assert_eq!(line, "step 5950/6000, 50 s left");
    }

    #[test]
    fn speed_is_that_of_the_last_second() {
        let start = Instant::now();
        let mut speed = Speed::new(start);
        assert!(!speed.add(1000, start + Duration::from_millis(500)));
        assert!(speed.add(1000, start + Duration::from_secs(1)));
        assert_eq!(speed.per_second, Some(2000.0));
        speed.add(500, start + Duration::from_secs(2));
        assert_eq!(speed.per_second, Some(500.0));
    }

    #[test]
    fn quiet_reports_nothing_and_takes_everything() {
        let mut progress = Progress::start(0, 0, "images", true);
        progress.step(1, None, 1000);
        progress.epoch("epoch 0");
        progress.finish();
    }
}
