//! What the documents name is there: files behind links, headings behind anchors, and commands that the program takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use sonew_harness::cli::Cli;

/// Every document, by its path.
fn documents() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().unwrap();
    let folders = [root.clone(), root.join("docs")];
    let files = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path())
    });
    let markdown = files.filter(|path| path.extension().is_some_and(|it| it == "md"));
    markdown
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// What stands between each `start` and the `end` that follows it.
fn between<'a>(text: &'a str, start: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    let pieces = text.split(start).skip(1);
    pieces.filter_map(move |piece| piece.split_once(end).map(|(inside, _)| inside))
}

/// A heading as Markdown names it in a link.
fn anchor(heading: &str) -> String {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    heading.trim().chars().filter_map(kept).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let documents = documents();
    assert!(documents.len() > 10);
    let mut links = 0;
    for (path, text) in &documents {
        let local = between(text, "](", ')').filter(|link| !link.contains("://"));
        for link in local {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                _ => path.parent().unwrap().join(file),
            };
            let target = target.canonicalize();
            let target = target.unwrap_or_else(|it| panic!("{}: {link}: {it}", path.display()));
            if !heading.is_empty() {
                let headings = documents[&target].lines().filter(|it| it.starts_with('#'));
                let mut anchors = headings.map(|it| anchor(it.trim_start_matches('#')));
                assert!(
                    anchors.any(|it| it == heading),
                    "{}: {link}",
                    path.display()
                );
            }
            links += 1;
        }
    }
    assert!(links > 30, "{links}");
}

#[test]
fn every_chapter_stands_in_the_contents() {
    let documents = documents();
    let contents = |end: &str| {
        let (_, text) = documents
            .iter()
            .find(|(path, _)| path.ends_with(end))
            .unwrap();
        text
    };
    let (book, readme) = (contents("docs/SUMMARY.md"), contents("README.md"));
    for path in documents
        .keys()
        .filter(|path| path.parent().unwrap().ends_with("docs"))
    {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name != "SUMMARY.md" {
            assert!(book.contains(&format!("({name})")), "{name}");
            assert!(readme.contains(&format!("(docs/{name})")), "{name}");
        }
    }
}

/// Commands of the program: those that stand on a line of their own, and those within a sentence.
fn commands(text: &str) -> Vec<String> {
    let lines = text.lines();
    let alone = lines.filter_map(|line| {
        let indented = line.strip_prefix("    ").unwrap_or(line);
        indented.strip_prefix("sonew ")
    });
    let joined = text.replace('\n', " ");
    let within: Vec<String> = between(&joined, "`sonew ", '`')
        .map(str::to_owned)
        .collect();
    alone.map(str::to_owned).chain(within).collect()
}

#[test]
fn every_command_is_one_that_the_program_takes() {
    let mut parsed = 0;
    for (path, text) in documents() {
        for command in commands(&text) {
            let (words, _) = command.split_once(" #").unwrap_or((&command, ""));
            // Places for what a reader has to fill in.
            let words = words
                .split_whitespace()
                .filter(|word| !word.starts_with('[') && *word != "…")
                // A shell takes the quotes away.
                .map(|word| word.trim_matches('\''));
            let line: Vec<&str> = ["sonew"].into_iter().chain(words).collect();
            if let Err(error) = Cli::try_parse_from(&line) {
                let asked = [
                    clap::error::ErrorKind::DisplayHelp,
                    clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                    clap::error::ErrorKind::MissingRequiredArgument,
                ];
                assert!(
                    asked.contains(&error.kind()),
                    "{}: sonew {command}: {error}",
                    path.display()
                );
            }
            parsed += 1;
        }
    }
    assert!(parsed > 60, "{parsed}");
}
