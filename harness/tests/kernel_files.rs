//! Kernels on arrays from files: every one of them, every option, and what is refused. Long, as the
//! program is asked in every way.

#[path = "kernel_files/made.rs"]
mod made;
mod program;

use std::collections::BTreeMap;

use made::{Case, Set, inputs, numbers, set, symmetric, text};
use program::{fails, sonew, succeeds};
use sonew_harness::arrays::{Array, Arrays, Values};
use sonew_harness::lab::kernel_files::{Absent, KernelSpec, Setting, kernel, kernels};

const DEVICE: [&str; 2] = ["--device", "wgpu:cpu"];

fn run(args: &[String]) -> std::process::Output {
    sonew(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Options that another one needs beside it.
fn beside(kernel: &str, key: &str, value: &str) -> Set {
    match (kernel, key, value) {
        ("sonew-graft", "graft", "rmsprop") => set(&[("launches", "two")]),
        ("sonew-graft", "graft-decay", _) => set(&[("graft", "rmsprop"), ("launches", "two")]),
        ("kronecker-descent", "step", _) => set(&[("graft", "adam")]),
        // So that there are pivots to cut.
        (_, "removal", _) => set(&[("relative-gamma", "0.995")]),
        // Statistics of one gradient alone are singular.
        ("sonew-step" | "sonew-graft", "beta2", _) => set(&[("epsilon", "0.25")]),
        _ => Set::new(),
    }
}

/// Options under which a kernel differs: the defaults, then each name that an option can have.
fn variants(spec: &KernelSpec) -> Vec<Set> {
    let mut all = vec![Set::new()];
    for setting in &spec.settings {
        for &name in setting.choices() {
            let mut set = beside(spec.name, setting.key, name);
            set.push((setting.key, name.into()));
            all.push(set);
        }
    }
    all
}

/// A file with all inputs that a kernel reads with these options.
fn case_for(spec: &KernelSpec, set: &Set) -> Case {
    let mut file = inputs(spec, true);
    let whole = Case::new(&file);
    match whole.oracle(spec.name, set) {
        Err(error) if error.to_string().contains("array second has no effect") => {
            file.remove("second");
            Case::new(&file)
        }
        _ => whole,
    }
}

/// How far from its oracle a value may be, relative to itself and to the largest.
fn tolerance(spec: &KernelSpec, set: &Set) -> f64 {
    if spec.settings.iter().any(|setting| setting.key == "format") {
        return 0.0;
    }
    let chosen = |name: &str| set.iter().any(|(_, value)| value == name);
    if chosen("newton-bf16") {
        0.02
    } else if chosen("reweight") {
        // The entry that makes a pivot γ is the root of a quadratic, which may be a double one.
        1e-3
    } else {
        1e-5
    }
}

/// Holds what a kernel wrote to what its oracle says.
#[track_caller]
fn agrees(spec: &KernelSpec, set: &Set, found: &mut Arrays, expected: &BTreeMap<String, Array>) {
    for (name, array) in expected {
        let output = spec.outputs.iter().find(|output| output.name == name);
        let output = output.unwrap_or_else(|| panic!("{}: {name} is not declared", spec.name));
        let (shape, values) = match array.values {
            Values::F32(_) => {
                let (shape, values) = found.take_f32(name).unwrap();
                (shape, values.into_iter().map(f64::from).collect::<Vec<_>>())
            }
            Values::U32(_) => {
                assert!(output.counts, "{}: {name}", spec.name);
                let (shape, values) = found.take_u32(name).unwrap();
                (shape, values.into_iter().map(f64::from).collect())
            }
        };
        assert_eq!(shape, array.shape, "{} {set:?}: {name}", spec.name);
        if output.of_the_way {
            continue;
        }
        let expected = numbers(array);
        // ψ is relative to 1, the weight of a column itself.
        let least = if name == "psi" { 1.0 } else { 0.0 };
        let largest = expected
            .iter()
            .fold(least, |most: f64, x| most.max(x.abs()));
        for (at, (found, expected)) in values.iter().zip(&expected).enumerate() {
            let allowed = tolerance(spec, set) * (expected.abs() + largest);
            let same = found == expected || (found - expected).abs() <= allowed;
            assert!(
                same,
                "{} {set:?}: {name}[{at}] is {found:e}, its oracle says {expected:e}",
                spec.name
            );
        }
    }
    let rest: Vec<_> = found
        .names()
        .filter(|name| !expected.contains_key(*name))
        .collect();
    assert!(
        rest.is_empty(),
        "{}: only the kernel writes {rest:?}",
        spec.name
    );
}

/// Runs a kernel on the software driver and holds it to its oracle.
#[track_caller]
fn device_agrees(spec: &KernelSpec, case: &Case, set: &Set) {
    let expected = case.oracle(spec.name, set).unwrap();
    let mut more = DEVICE.to_vec();
    if expected.refused.is_some() {
        more.push("--allow-refused");
    }
    let output = run(&case.args(spec.name, set, &more));
    let said = said(&output);
    if said.contains("is not supported on this device") {
        return;
    }
    assert!(output.status.success(), "{} {set:?}: {said}", spec.name);
    let mut found = Arrays::read(case.output()).unwrap();
    agrees(spec, set, &mut found, &expected.arrays);
}

#[test]
fn every_kernel_of_the_contract_runs_on_a_file() {
    // The text of a kernel that is not there: the error names those that the contract checks.
    let error = fails(&["source", "no-such-kernel"]);
    let (_, known) = error.split_once("there are ").expect("a list of names");
    let contract: Vec<&str> = known.trim().split(", ").collect();
    assert!(contract.len() > 15, "{error}");
    let table: Vec<_> = kernels().iter().map(|spec| spec.name).collect();
    for name in contract {
        assert!(table.contains(&name), "{name} has no declaration");
    }
    for (at, name) in table.iter().enumerate() {
        assert!(!table[..at].contains(name), "{name} is declared twice");
    }
}

#[test]
fn every_kernel_agrees_with_its_oracle_under_every_choice_of_its_options() {
    for spec in kernels() {
        for set in variants(&spec) {
            device_agrees(&spec, &case_for(&spec, &set), &set);
        }
    }
}

#[test]
fn the_oracle_of_every_kernel_is_written_without_a_device() {
    for spec in kernels() {
        let case = Case::new(&inputs(&spec, false));
        let output = run(&case.args(spec.name, &Set::new(), &["--oracle"]));
        assert!(output.status.success(), "{}: {}", spec.name, said(&output));
        let expected = case.oracle(spec.name, &Set::new()).unwrap();
        let found = Arrays::read(case.output()).unwrap();
        let written: Vec<_> = found.names().collect();
        let always = spec.outputs.iter().filter(|output| output.only.is_none());
        for output in always {
            assert!(
                written.contains(&output.name),
                "{}: {}",
                spec.name,
                output.name
            );
        }
        assert_eq!(written.len(), expected.arrays.len(), "{}", spec.name);
    }
    let case = Case::new(&inputs(&kernel("adam").unwrap(), false));
    let error = said(&run(&case.args(
        "adam",
        &Set::new(),
        &["--oracle", "--device", "cuda:0"],
    )));
    assert!(error.contains("cannot be used with"), "{error}");
}

#[test]
fn states_that_are_absent_count_as_zeros() {
    for spec in kernels() {
        let mut file = inputs(&spec, false);
        let absent = Case::new(&file).oracle(spec.name, &Set::new()).unwrap();
        let whole = inputs(&spec, true);
        let states = spec.inputs.iter().filter(|it| it.absent == Absent::Zeros);
        for state in states {
            let shape = whole[state.name].shape.clone();
            let zeros = vec![0.0; shape.iter().product()];
            file.insert(state.name.into(), Array::f32(shape, zeros));
        }
        // What the default options do not read is refused instead.
        if let Ok(given) = Case::new(&file).oracle(spec.name, &Set::new()) {
            assert_eq!(absent.arrays, given.arrays, "{}", spec.name);
        }
    }
}

/// Values that no option may swallow.
const EXTREME: [&str; 16] = [
    "",
    "0",
    "-0",
    "-1",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1e400",
    "1e-400",
    "1e39",
    "1e-39",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
];

#[test]
fn every_extreme_value_of_every_option_is_refused_by_name_or_computed_right() {
    for spec in kernels() {
        for setting in &spec.settings {
            let case = case_for(&spec, &beside(spec.name, setting.key, ""));
            let mut refused = 0;
            for text in EXTREME {
                let mut set = beside(spec.name, setting.key, text);
                set.push((setting.key, text.into()));
                match case.oracle(spec.name, &set) {
                    // The least and the largest; each run is a process of its own.
                    Ok(_) if text == "0" || text.len() > 18 => device_agrees(&spec, &case, &set),
                    Ok(_) => {}
                    Err(error) => {
                        let error = error.to_string();
                        let found = format!("option {}={text}: expected", setting.key);
                        assert!(error.contains(&found), "{} {set:?}: {error}", spec.name);
                        refused += 1;
                    }
                }
            }
            // At the very least nothing, and what no number is.
            assert!(refused >= 5, "{} {}: {refused}", spec.name, setting.key);
        }
    }
}

#[test]
fn an_option_that_is_unknown_empty_or_given_twice_is_refused() {
    for spec in kernels() {
        let case = Case::new(&inputs(&spec, false));
        let error = case.oracle(spec.name, &set(&[("gama", "1")])).unwrap_err();
        assert!(
            error.to_string().contains("option `gama`: unknown"),
            "{error}"
        );
        for Setting { key, default, .. } in &spec.settings {
            let twice = set(&[(key, default), (key, default)]);
            let error = case.oracle(spec.name, &twice).unwrap_err().to_string();
            let found = format!("{key}={default} and {key}={default}: expected it once");
            assert!(error.contains(&found), "{}: {error}", spec.name);
        }
    }
}

#[test]
fn every_option_changes_what_is_computed() {
    // These choose a way to the same result.
    let ways = ["launches", "by", "on", "root"];
    for spec in kernels() {
        for setting in spec.settings.iter().filter(|it| !ways.contains(&it.key)) {
            let others = ["0.5", "0.99", "3", "7", "2400"];
            let others = others.iter().chain(setting.choices());
            let case = case_for(&spec, &beside(spec.name, setting.key, ""));
            let changed = others.into_iter().any(|&text| {
                let before = beside(spec.name, setting.key, text);
                let mut after = before.clone();
                after.push((setting.key, text.into()));
                let both = (
                    case.oracle(spec.name, &before),
                    case.oracle(spec.name, &after),
                );
                matches!(both, (Ok(before), Ok(after)) if before.arrays != after.arrays)
            });
            assert!(changed, "{} {}", spec.name, setting.key);
        }
    }
}

#[test]
fn an_option_or_array_without_effect_beside_the_others_is_refused() {
    for (name, given) in [
        ("sgd", &[("beta1", "0.5")][..]),
        ("adagrad", &[("step", "7")]),
        ("statistics", &[("lambda", "2"), ("beta2", "0.5")]),
        ("sonew-graft", &[("graft", "sgd"), ("graft-epsilon", "1")]),
        ("sonew-graft", &[("graft-decay", "0.5")]),
        ("kronecker-descent", &[("graft", "sgd"), ("beta2", "0.5")]),
        ("kronecker-descent", &[("step", "7")]),
        ("inverse-root", &[("ridge", "1"), ("relative-ridge", "1")]),
        ("stochastic-rounding", &[("format", "f32"), ("seed", "1")]),
    ] {
        let case = Case::new(&inputs(&kernel(name).unwrap(), false));
        let error = case.oracle(name, &set(given)).unwrap_err().to_string();
        let named = given
            .iter()
            .any(|(key, _)| error.contains(&format!("option `{key}`")))
            || error.contains("no effect");
        assert!(named, "{name} {given:?}: {error}");
    }
    for (name, given) in [
        ("sonew-graft", set(&[("graft", "adam")])),
        ("kronecker-descent", set(&[("graft", "none")])),
    ] {
        let case = Case::new(&inputs(&kernel(name).unwrap(), true));
        let error = case.oracle(name, &given).unwrap_err().to_string();
        assert!(
            error.contains("array second has no effect"),
            "{name}: {error}"
        );
    }
    let large = set(&[("lr", "1e30"), ("weight-decay", "1e30")]);
    let case = Case::new(&inputs(&kernel("adam").unwrap(), false));
    let error = case.oracle("adam", &large).unwrap_err().to_string();
    assert!(error.contains("weight-decay=1e30: expected"), "{error}");
    let args = case.args("adam", &Set::new(), &["--allow-refused"]);
    assert!(said(&run(&args)).contains("--allow-refused has no effect"));
}

#[test]
fn arrays_of_other_names_or_cases_are_refused_and_counters_of_other_libraries_passed_over() {
    let rename = |kernel_name: &str, from: &str, to: &str| {
        let mut file = inputs(&kernel(kernel_name).unwrap(), true);
        let array = file.remove(from).unwrap();
        file.insert(to.into(), array);
        Case::new(&file).oracle(kernel_name, &Set::new())
    };
    for (name, from, to) in [
        ("adam", "first_moment", "exp_avg"),
        ("kronecker-apply", "r", "R"),
        ("sonew-step", "moment", "Moment"),
        ("momentum", "velocity", "second_moment"),
    ] {
        let error = rename(name, from, to).unwrap_err().to_string();
        assert!(
            error.contains(to) && error.contains(from),
            "{name}: {error}"
        );
    }
    let spec = kernel("adam").unwrap();
    let mut file = inputs(&spec, true);
    let plain = Case::new(&file).oracle("adam", &Set::new()).unwrap();
    for name in ["step", "num_batches_tracked"] {
        file.insert(name.into(), Array::u32([1], vec![7]));
    }
    let beside = Case::new(&file).oracle("adam", &Set::new()).unwrap();
    assert_eq!(plain.arrays, beside.arrays);
}

#[test]
fn an_array_of_another_shape_is_refused_with_the_lengths_that_the_others_ask_for() {
    for (edges, expected) in [
        (vec![5, 1], "[5, 1], expected [b from 0 to 32, 5]"),
        (vec![33, 5], "[33, 5], expected [b from 0 to 32, 5]"),
        (vec![5], "[5], expected [b from 0 to 32, 5]"),
    ] {
        let count = edges.iter().product();
        let file = BTreeMap::from([
            ("diagonal".to_owned(), Array::f32([5], vec![1.0; 5])),
            ("edges".to_owned(), Array::f32(edges, vec![0.0; count])),
        ]);
        let error = Case::new(&file)
            .oracle("banded-ldl", &Set::new())
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let file = BTreeMap::from([("s".to_owned(), Array::f32([2, 3], vec![1.0; 6]))]);
    let error = Case::new(&file)
        .oracle("inverse-root", &Set::new())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("[2, 3], expected [n ≥ 1, n ≥ 1]"),
        "{error}"
    );
}

#[test]
fn what_one_kernel_writes_the_next_one_reads() {
    let statistics = kernel("statistics").unwrap();
    let mut file = inputs(&statistics, true);
    for (name, next) in [("statistics", "banded-ldl"), ("banded-ldl", "precondition")] {
        let case = Case::new(&file);
        let output = run(&case.args(name, &Set::new(), &DEVICE));
        assert!(output.status.success(), "{}", said(&output));
        file = case.oracle(name, &Set::new()).unwrap().arrays;
        let lacking = inputs(&kernel(next).unwrap(), true);
        for (name, array) in lacking {
            file.entry(name).or_insert(array);
        }
        let found = Case::new(&file).oracle(next, &Set::new());
        assert!(found.is_ok(), "{next}: {:?}", found.err());
    }
    // So do the states of a step, with the next gradient.
    for name in ["adam", "sonew-step", "kronecker-descent"] {
        let before = inputs(&kernel(name).unwrap(), true);
        let mut after = Case::new(&before).oracle(name, &Set::new()).unwrap().arrays;
        for (name, array) in before {
            after.entry(name).or_insert(array);
        }
        let found = Case::new(&after).oracle(name, &Set::new());
        assert!(found.is_ok(), "{name}: {:?}", found.err());
    }
}

/// A 6 × 6 matrix that is right but for what `change` does.
fn root_of(change: impl Fn(&mut Vec<f32>)) -> Case {
    let mut s = symmetric(6);
    change(&mut s);
    Case::new(&BTreeMap::from([("s".to_owned(), Array::f32([6, 6], s))]))
}

fn root_ways() -> Vec<&'static str> {
    let spec = kernel("inverse-root").unwrap();
    let setting = spec.settings.iter().find(|it| it.key == "root").unwrap();
    setting.choices().to_vec()
}

#[test]
fn a_root_that_is_not_found_is_an_error_that_says_why_whatever_the_method() {
    let cases: [(&str, Case); 7] = [
        ("s is not finite: 1 of", root_of(|s| s[9] = f32::NAN)),
        (
            "s is not finite: 2 of",
            root_of(|s| (s[7], s[1]) = (f32::INFINITY, f32::INFINITY)),
        ),
        (
            "s is not symmetric: row 0, column 1",
            root_of(|s| s[1] += 0.02),
        ),
        (
            "s is not symmetric",
            root_of(|s| (1..6).for_each(|j| s[6 * j] = 0.0)),
        ),
        ("", root_of(|s| s.fill(0.0))),
        ("", root_of(|s| s.iter_mut().for_each(|x| *x = -*x))),
        (
            "",
            root_of(|s| (0..6).for_each(|i| s[7 * i] = if i == 5 { -0.5 } else { 1.0 })),
        ),
    ];
    for (why, case) in cases {
        let mut ways = root_ways();
        ways.push("oracle");
        for way in ways {
            let (set, more) = match way {
                "oracle" => (Set::new(), vec!["--oracle"]),
                "newton-device" => (set(&[("root", way)]), DEVICE.to_vec()),
                _ => (set(&[("root", way)]), vec![]),
            };
            let _ = std::fs::remove_file(case.output());
            let output = run(&case.args("inverse-root", &set, &more));
            let error = said(&output);
            assert_eq!(output.status.code(), Some(1), "{way}, {why}: {error}");
            assert!(
                error.contains("nothing was written, for "),
                "{way}, {why}: {error}"
            );
            assert!(error.contains(why), "{way}, {why}: {error}");
            assert!(!case.output().exists(), "{way}, {why}");

            let mut more = more;
            more.push("--allow-refused");
            let output = run(&case.args("inverse-root", &set, &more));
            let error = said(&output);
            assert!(output.status.success(), "{way}, {why}: {error}");
            assert!(
                error.contains("accepted is 0, for "),
                "{way}, {why}: {error}"
            );
            let mut found = Arrays::read(case.output()).unwrap();
            assert_eq!(found.take_u32("accepted").unwrap().1, [0], "{way}, {why}");
        }
    }
}

#[test]
fn asymmetry_within_rounding_is_taken_and_no_method_depends_on_the_half_it_reads() {
    let (upper, lower) = (root_of(|s| s[1] += 2e-6), root_of(|s| s[6] += 2e-6));
    for way in root_ways() {
        let mut found = Vec::new();
        for case in [&upper, &lower] {
            let set = set(&[("root", way)]);
            let args = case.args(
                "inverse-root",
                &set,
                if way == "newton-device" { &DEVICE } else { &[] },
            );
            let output = run(&args);
            assert!(output.status.success(), "{way}: {}", said(&output));
            found.push(Arrays::read(case.output()).unwrap().take_f32("x").unwrap());
        }
        assert_eq!(found[0], found[1], "{way}");
    }
}

#[test]
fn the_list_shows_every_kernel_with_its_arrays_and_options() {
    let list = succeeds(&["kernel", "--list"]);
    for spec in kernels() {
        assert!(
            list.contains(&format!("{}\n  {}", spec.name, spec.summary)),
            "{}",
            spec.name
        );
        let one = succeeds(&["kernel", spec.name, "--list"]);
        assert!(list.contains(one.split("\n\n").next().unwrap()), "{one}");
        for input in &spec.inputs {
            assert!(one.contains(&input.to_string()), "{}: {input}", spec.name);
        }
        for setting in &spec.settings {
            let line = format!("--set {}={} ", setting.key, setting.default);
            assert!(one.contains(&line), "{}: {line}", spec.name);
        }
    }
    assert!(fails(&["kernel", "--list", "no-such-kernel"]).contains("banded-ldl"));
    assert!(fails(&["kernel", "adam", "--list", "--set", "lr=1"]).contains("cannot be used with"));
    let case = Case::new(&BTreeMap::new());
    let error = fails(&[
        "kernel",
        "no-such-kernel",
        "--in",
        text(&case.input()),
        "--out",
        "x",
    ]);
    assert!(
        error.contains("no kernel is called `no-such-kernel`"),
        "{error}"
    );
}

#[test]
fn a_tensor_beyond_the_largest_buffer_is_refused_before_the_driver_sees_it() {
    // 2²⁵ values and their pads are more than 128 MiB, the largest buffer of Mesa's software driver.
    let values = Array::f32([1 << 25], vec![1.0; 1 << 25]);
    let file = BTreeMap::from([("w".to_owned(), values.clone()), ("g".to_owned(), values)]);
    let case = Case::new(&file);
    let output = run(&case.args("sgd", &Set::new(), &DEVICE));
    let error = said(&output);
    assert!(!error.contains("panicked"), "{error}");
    assert!(
        output.status.success() || error.contains("needs a buffer of"),
        "{error}"
    );
}
