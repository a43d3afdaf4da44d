//! A report as lines for people: the sections of the JSON, one value a line.

use serde::Serialize;
use serde_json::Value;

use super::Report;
use crate::output::Output;
use crate::units;

/// Shows all of it.
pub(super) fn show(output: Output, report: &Report) {
    section(output, "versions", &report.versions);
    section(output, "limits", &report.limits);
    section(output, "store", &report.store);
    section(output, "state", &report.state);
    section(output, "vault", &report.vault);
    if report.problems.is_empty() {
        output.line("nothing is wrong");
    }
    for problem in &report.problems {
        output.line(format_args!("WRONG: {}", problem.what));
    }
}

fn section(output: Output, name: &str, content: &impl Serialize) {
    output.line(name);
    let content = serde_json::to_value(content).expect("reports are plain data");
    if let Value::Object(fields) = content {
        for (key, value) in &fields {
            field(output, key, value);
        }
    }
}

fn field(output: Output, key: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            for item in items {
                line(output, key, &words(key, item));
            }
        }
        other => line(output, key, &words(key, other)),
    }
}

fn line(output: Output, key: &str, words: &str) {
    output.line(format_args!("  {:<22} {words}", key.replace('_', " ")));
}

/// A value in words; an object is its values with their keys.
fn words(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if key.ends_with("_bytes") || key == "bytes" => number
            .as_u64()
            .map_or_else(|| number.to_string(), units::size),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Object(fields) => {
            let told = fields.iter().filter(|(_, value)| !value.is_null());
            let told = told.map(|(key, value)| match (key.as_str(), value) {
                ("what" | "verdict", value) => words(key, value),
                ("milliseconds", value) => format!("{value} ms"),
                (key, value) => format!("{}: {}", key.replace('_', " "), words(key, value)),
            });
            let mut told: Vec<String> = told.collect();
            // What it is about comes first.
            if let Some(what) = fields.get("what") {
                let what = words("what", what);
                told.retain(|word| *word != what);
                told.insert(0, what);
            }
            told.join(", ")
        }
        other => other.to_string(),
    }
}
