//! What a run leaves behind, and that runs leave one another alone.

use std::fs;

use serde_json::{Value, json};
use sonew_harness::train::record::{
    EpochRecord, LogLine, RecordError, RunFolder, RunStatus, StepRecord, read_log, read_run,
};

#[test]
fn a_run_is_recorded_from_start_to_end() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("deep/run");
    let mut run = RunFolder::create(&path, false).unwrap();
    run.write_config(&json!({"optimizer": "sonew", "band": 4}))
        .unwrap();
    let during = read_run(&path).unwrap();
    assert_eq!(
        (during.status, during.summary),
        (RunStatus::Running, Value::Null)
    );

    let epoch = EpochRecord {
        epoch: 0,
        steps: 60,
        loss: 544.25,
        pivots_cut: Some(3),
        ..EpochRecord::default()
    };
    run.log(&StepRecord {
        step: 59,
        loss: 543.5,
    })
    .unwrap();
    run.log(&epoch).unwrap();
    let expected = vec![
        LogLine::Step(StepRecord {
            step: 59,
            loss: 543.5,
        }),
        LogLine::Epoch(epoch),
    ];
    assert_eq!(
        read_log(&path).unwrap(),
        expected,
        "the log is readable while the run goes on"
    );

    run.finish(RunStatus::Finished, &json!({"final_loss": 544.25}))
        .unwrap();
    let after = read_run(&path).unwrap();
    assert_eq!(after.status, RunStatus::Finished);
    assert_eq!(after.config["band"], 4);
    assert_eq!(after.summary["final_loss"], 544.25);
    let text = fs::read_to_string(path.join("run.json")).unwrap();
    assert!(
        text.starts_with("{\n  \"status\": \"finished\",\n  \"config\": {\n    \"optimizer\""),
        "{text}"
    );
    assert_eq!(
        fs::read_dir(&path).unwrap().count(),
        2,
        "no temporary file stays"
    );
}

#[test]
fn a_step_is_logged_as_step_and_loss_only() {
    let parent = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(parent.path(), false).unwrap();
    run.log(&StepRecord {
        step: 7,
        loss: 90.5,
    })
    .unwrap();
    run.log(&StepRecord {
        step: 8,
        loss: f64::NAN,
    })
    .unwrap();
    let text = fs::read_to_string(parent.path().join("log.jsonl")).unwrap();
    assert_eq!(
        text,
        "{\"step\":7,\"loss\":90.5}\n{\"step\":8,\"loss\":null}\n"
    );
    let lines = read_log(parent.path()).unwrap();
    assert!(matches!(&lines[1], LogLine::Step(StepRecord { step: 8, loss }) if loss.is_nan()));
}

#[test]
fn another_run_is_never_overwritten_unasked() {
    let parent = tempfile::tempdir().unwrap();
    let mut first = RunFolder::create(parent.path(), false).unwrap();
    first.write_config(&json!({})).unwrap();
    first.log(&StepRecord { step: 0, loss: 1.0 }).unwrap();
    fs::write(parent.path().join("loss.svg"), "old").unwrap();
    fs::write(parent.path().join("notes.txt"), "mine").unwrap();

    let error = RunFolder::create(parent.path(), false).unwrap_err();
    assert!(matches!(error, RecordError::Taken { .. }));
    assert!(error.to_string().contains("--overwrite"), "{error}");
    let error = RunFolder::create(parent.path(), true).unwrap_err();
    assert!(matches!(error, RecordError::Busy { .. }), "{error}");
    assert_eq!(read_log(parent.path()).unwrap().len(), 1);

    drop(first);
    let second = RunFolder::create(parent.path(), true).unwrap();
    assert_eq!(read_log(parent.path()).unwrap().len(), 0);
    assert!(!parent.path().join("loss.svg").exists());
    let begun = read_run(parent.path()).unwrap();
    assert_eq!(
        (begun.status, begun.config),
        (RunStatus::Running, Value::Null)
    );
    drop(second);
    assert!(
        parent.path().join("notes.txt").exists(),
        "files that are not the run's stay"
    );
}

#[test]
fn default_folders_get_a_number_when_the_name_is_taken() {
    let parent = tempfile::tempdir().unwrap();
    let runs = parent.path().join("runs");
    let names: Vec<_> = (0..3)
        .map(|_| {
            RunFolder::create_named(&runs, "adam")
                .unwrap()
                .path()
                .to_path_buf()
        })
        .collect();
    assert_eq!(
        names,
        [runs.join("adam"), runs.join("adam-2"), runs.join("adam-3")]
    );
}

#[test]
fn a_file_in_the_way_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(matches!(
        RunFolder::create(&path, true),
        Err(RecordError::NotAFolder { .. })
    ));
}

#[test]
fn the_reason_of_a_failure_is_kept() {
    let parent = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(parent.path(), false).unwrap();
    let failed = RunStatus::Failed("device lost".into());
    run.finish(failed.clone(), &Value::Null).unwrap();
    assert!(
        fs::read_to_string(parent.path().join("run.json"))
            .unwrap()
            .contains("\"failed: device lost\"")
    );
    assert_eq!(read_run(parent.path()).unwrap().status, failed);
}

#[test]
fn every_status_reads_back_as_written() {
    for (status, text) in [
        (RunStatus::Running, "running"),
        (RunStatus::Finished, "finished"),
        (RunStatus::Interrupted, "interrupted"),
        (RunStatus::Diverged("NaN".into()), "diverged: NaN"),
        (RunStatus::Failed("disk full".into()), "failed: disk full"),
    ] {
        assert_eq!(String::from(status.clone()), text);
        assert_eq!(RunStatus::from(text.to_owned()), status);
    }
}

#[test]
fn a_run_that_is_given_up_says_so_and_keeps_what_it_found() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, false).unwrap();
    run.keep(&json!({"losses": [544.25]})).unwrap();
    assert_eq!(read_run(&path).unwrap().summary, Value::Null);
    drop(run);
    let ended = read_run(&path).unwrap();
    assert!(matches!(ended.status, RunStatus::Failed(_)));
    assert_eq!(ended.summary["losses"][0], 544.25);

    let path = parent.path().join("panic");
    let run = RunFolder::create(&path, false).unwrap();
    let panicked = std::thread::spawn(move || {
        let _run = run;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let status = read_run(&path).unwrap().status;
    assert!(
        matches!(&status, RunStatus::Failed(reason) if reason.contains("panic")),
        "{status:?}"
    );
}

#[test]
fn last_words_change_nothing_of_a_run_that_has_ended() {
    let parent = tempfile::tempdir().unwrap();
    let mut run = RunFolder::create(parent.path(), false).unwrap();
    let last_words = run.last_words();
    run.finish(RunStatus::Finished, &Value::Null).unwrap();
    last_words();
    assert_eq!(read_run(parent.path()).unwrap().status, RunStatus::Finished);
    drop(run);
    last_words();
    assert_eq!(read_run(parent.path()).unwrap().status, RunStatus::Finished);

    let run = RunFolder::create(parent.path(), true).unwrap();
    run.last_words()();
    assert_eq!(
        read_run(parent.path()).unwrap().status,
        RunStatus::Interrupted
    );
}

#[test]
fn a_folder_that_cannot_be_taken_stays_as_it_was() {
    let parent = tempfile::tempdir().unwrap();
    // The log cannot be made: nothing that was made for it stays.
    let path = parent.path().join("a/b");
    fs::create_dir_all(path.join("log.jsonl")).unwrap();
    assert!(RunFolder::create(&path, false).is_err());
    assert!(!path.join("run.json").exists());
    // Nor can its settings: the log goes as well.
    let path = parent.path().join("c");
    fs::create_dir_all(path.join("run.json")).unwrap();
    assert!(RunFolder::create(&path, false).is_err());
    assert!(!path.join("log.jsonl").exists());
}

#[test]
fn a_log_cut_off_in_its_last_line_still_reads() {
    let parent = tempfile::tempdir().unwrap();
    let log = parent.path().join("log.jsonl");
    fs::write(
        &log,
        "{\"step\":1,\"loss\":2.0}\n{\"device\":\"x\"}\n{\"step\":2,\"lo",
    )
    .unwrap();
    let lines = read_log(parent.path()).unwrap();
    assert_eq!(lines.len(), 2);
    assert!(matches!(lines[1], LogLine::Other(_)));
    fs::write(&log, "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"lo\n").unwrap();
    assert!(matches!(
        read_log(parent.path()),
        Err(RecordError::Unreadable { line: 2, .. })
    ));
}
