//! What was found out: one line of the table, and whether a bar was kept.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::site::Traffic;
use crate::systems::System;

/// What is done and measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Small files, until they are all in the store.
    Small,
    /// `ls -lR` on a new device.
    List,
    /// A large file, until it is in the store.
    Write,
    /// A large file, on a new device.
    Read,
    /// 4 KiB here and there in it, on a new device.
    Random,
    /// A folder of many files gets another name.
    Rename,
    /// A file is saved again and again.
    Editor,
}

impl Scenario {
    pub const ALL: [Self; 7] = [
        Self::Small,
        Self::List,
        Self::Write,
        Self::Read,
        Self::Random,
        Self::Rename,
        Self::Editor,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::List => "list",
            Self::Write => "write",
            Self::Read => "read",
            Self::Random => "random",
            Self::Rename => "rename",
            Self::Editor => "editor",
        }
    }
}

/// What one scenario has shown of one system.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub line: &'static str,
    pub scenario: Scenario,
    pub system: System,
    #[serde(flatten)]
    pub measured: Measured,
    pub bar: Option<Bar>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// What was done, with the sizes of this run.
    pub title: String,
    /// How long the whole took.
    pub seconds: f64,
    /// Otherwise all figures are of what was given up.
    pub in_time: bool,
    /// The figure that it is about, in words.
    pub told: String,
    /// More of them by name, with the unit in it.
    pub figures: BTreeMap<&'static str, f64>,
    pub traffic: Traffic,
}

/// What the drive is held to.
#[derive(Debug, Clone, Serialize)]
pub struct Bar {
    pub words: String,
    pub kept: bool,
}
