//! What `doctor` finds at the store: whether it answers, whether a vault is there, and what it does with objects.

use std::time::Duration;
use std::time::Instant;

use coffre::Error;
use coffre::store::Finding;
use coffre::store::Prefix;
use coffre::store::Probe;
use coffre::store::Store;
use coffre::store::Verdict;
use coffre_format::name::ObjectName;
use serde::Serialize;

use super::Problems;
use crate::exit;
use crate::interrupt;
use crate::settings::Target;

/// A store that has not been tried out by then is not usable.
const PATIENCE: Duration = Duration::from_secs(300);
/// A difference that a person should know of, in seconds. Nothing of a vault depends on it, but servers refuse
/// requests that are signed with a wrong time.
const CLOCKS_MOST: i64 = 300;

/// How far it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// With objects that are written and removed.
    Writing,
    /// With what is there.
    Reading,
}

/// What was found.
#[derive(Default, Serialize)]
pub(super) struct Section {
    /// Scheme, host, bucket, root; no credentials, no options.
    address: String,
    reached: bool,
    list_milliseconds: Option<u64>,
    key_slots: Option<usize>,
    vault_object: Option<bool>,
    clock_ahead_seconds: Option<i64>,
    probe: Vec<Finding>,
    probes_left_behind: usize,
    probe_skipped: Option<&'static str>,
}

/// Looks, and tries it out.
pub(super) async fn look(target: &Target, trial: Trial, problems: &mut Problems) -> Section {
    let mut section = Section {
        address: target.uri.canonical().to_owned(),
        ..Section::default()
    };
    let store = match target.store() {
        Ok(store) => store,
        Err(error) => {
            problems.add(exit::code(&error), exit::message(&error));
            return section;
        }
    };
    if let Err(error) = look_for_vault(&store, &mut section).await {
        problems.error(&error);
        return section;
    }
    section.reached = true;
    if section.key_slots == Some(0) {
        problems.error(&Error::NoVault {
            location: store.uri().canonical().to_owned(),
        });
    }
    if trial == Trial::Reading {
        section.probe_skipped = Some("--read-only");
        return section;
    }
    if let Err(error) = try_out(&store, &mut section, problems).await {
        problems.error(&error);
    }
    section
}

async fn look_for_vault(store: &Store, section: &mut Section) -> Result<(), Error> {
    let begin = Instant::now();
    let slots = store.list(Prefix::Slots).await?.objects.len();
    let took = begin.elapsed().as_millis();
    section.list_milliseconds = u64::try_from(took).ok();
    section.key_slots = Some(slots);
    section.vault_object = Some(store.length(&ObjectName::Vault).await?.is_some());
    Ok(())
}

/// Whatever happens, Ctrl-C included, what was written is removed.
async fn try_out(
    store: &Store,
    section: &mut Section,
    problems: &mut Problems,
) -> Result<(), Error> {
    let probe = Probe::new(store)?;
    let left = probe.leftovers().await?;
    let tried = async {
        let findings = probe.run().await?;
        Ok::<_, Error>((findings, probe.clock_difference().await))
    };
    let tried = tokio::select! {
        tried = tokio::time::timeout(PATIENCE, tried) => tried.ok(),
        () = interrupted() => None,
    };
    let cleaned = probe.clean().await;
    match tried {
        Some(Ok((findings, clock))) => {
            for finding in &findings {
                if let Verdict::Wrong(how) = &finding.verdict {
                    let what = format!("the store does not {}: {how}", finding.what);
                    problems.add(exit::FAILED, what);
                }
            }
            section.probe = findings;
            section.clock_ahead_seconds = clock;
        }
        Some(Err(error)) => problems.error(&error),
        None => section.probe_skipped = Some("it took too long, or was interrupted"),
    }
    if let Some(ahead) = section.clock_ahead_seconds
        && ahead.abs() > CLOCKS_MOST
    {
        let what = format!(
            "the store's clock and this machine's differ by {} s",
            ahead.abs()
        );
        problems.add(exit::FAILED, what);
    }
    cleaned?;
    // Of probes that were killed; one that is still under way has removed its own by now, or soon will.
    section.probes_left_behind = left.len();
    probe.remove_leftovers(&left).await
}

async fn interrupted() {
    while interrupt::check().is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
