//! Whether the store answers: what the last requests met, and a probe that finds out when it is back.
//!
//! ```text
//!  up ──a request fails──▶ doubted ──the probe fails too──▶ away ──anything succeeds──▶ up
//!   ◀──────the probe succeeds──┘
//! ```
//! One object that cannot be had does not make the store away. While it is away, whoever could wait for it (a read)
//! fails at once, and whoever would ask again and again (a publish) leaves the asking to the probe.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;

use crate::clock::Instant;
use crate::error::Error;
use crate::error::Result;

/// Between two probes, doubling.
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_RAREST: Duration = Duration::from_secs(60);
/// One probe, with its retries.
const PROBE_LONGEST: Duration = Duration::from_secs(10);

/// A store that does not answer, or refuses.
#[derive(Debug, Clone)]
pub struct Outage {
    /// When the first request failed.
    pub since: Instant,
    /// What the last one met.
    pub error: Error,
    /// A probe has failed as well.
    pub confirmed: bool,
}

#[derive(Debug, Default)]
struct State {
    outage: Option<Outage>,
    /// Confirmed outages that have ended.
    returns: u64,
}

#[derive(Debug)]
pub(super) struct Health {
    state: watch::Sender<State>,
    probing: AtomicBool,
    /// Somebody wants to read: the next probe need not be rare.
    wanted: Arc<Notify>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
            probing: AtomicBool::new(false),
            wanted: Arc::default(),
        }
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.state.borrow().outage.clone()
    }

    pub(super) fn returns(&self) -> u64 {
        self.state.borrow().returns
    }

    /// Takes notice of how a request ended. Anything that the store answered means that it is there.
    pub(super) fn note<T, P, F>(self: &Arc<Self>, result: &Result<T>, probe: P)
    where
        P: Fn() -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        match result {
            Err(error @ (Error::Unreachable { .. } | Error::Denied { .. })) => {
                self.doubt(error);
                self.start_probing(probe);
            }
            _ => self.is_up(),
        }
    }

    /// Returns if a read has a chance; waits for the probe's verdict while there is doubt.
    pub(super) async fn may_read(&self) -> std::result::Result<(), Outage> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| match &state.outage {
            // A store that refuses says so at once: nothing is won by not asking.
            Some(outage) if matches!(outage.error, Error::Denied { .. }) => true,
            Some(outage) => outage.confirmed,
            None => true,
        });
        match tokio::time::timeout(2 * PROBE_LONGEST, settled).await {
            Ok(Ok(state)) => match &state.outage {
                Some(outage) if matches!(outage.error, Error::Unreachable { .. }) => {
                    self.wanted.notify_one();
                    Err(outage.clone())
                }
                _ => Ok(()),
            },
            // Nobody probes any more (its runtime has ended): the read itself finds out.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// What was found before says nothing any more.
    pub(super) fn begin_anew(&self) {
        self.state.send_modify(|state| {
            state.outage = None;
            state.returns += 1;
        });
    }

    fn is_up(&self) {
        if self.state.borrow().outage.is_none() {
            return;
        }
        self.state.send_modify(|state| {
            if let Some(outage) = state.outage.take()
                && outage.confirmed
            {
                state.returns += 1;
                log::info!(
                    "the store answers again, after {} s",
                    outage.since.elapsed().as_secs()
                );
            }
        });
    }

    fn doubt(&self, error: &Error) {
        self.state.send_modify(|state| match &mut state.outage {
            Some(outage) => outage.error = error.clone(),
            None => {
                state.outage = Some(Outage {
                    since: Instant::now(),
                    error: error.clone(),
                    confirmed: false,
                });
            }
        });
    }

    /// A probe has failed; false if somebody else got an answer meanwhile.
    fn confirm(&self, error: Error) -> bool {
        let mut away = false;
        self.state.send_modify(|state| {
            if let Some(outage) = &mut state.outage {
                if !outage.confirmed {
                    log::warn!("the store is away: {error}");
                }
                outage.error = error;
                outage.confirmed = true;
                away = true;
            }
        });
        away
    }

    fn start_probing<P, F>(self: &Arc<Self>, probe: P)
    where
        P: Fn() -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let turn = Turn(Arc::downgrade(self));
        runtime.spawn(async move { run_probes(&turn, probe).await });
    }
}

/// Held by the one task that probes, whichever way it ends.
struct Turn(Weak<Health>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(health) = self.0.upgrade() {
            health.probing.store(false, Ordering::Release);
        }
    }
}

async fn run_probes<P, F>(turn: &Turn, probe: P)
where
    P: Fn() -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut wait = PROBE_FIRST;
    loop {
        let found = match tokio::time::timeout(PROBE_LONGEST, probe()).await {
            Ok(found) => found,
            Err(_) => Err(Error::Unreachable {
                operation: "look at",
                object: "vault".into(),
                why: format!("no answer within {} s", PROBE_LONGEST.as_secs()),
            }),
        };
        let Some(health) = turn.0.upgrade() else {
            return;
        };
        match found {
            Err(error @ (Error::Unreachable { .. } | Error::Denied { .. })) => {
                if !health.confirm(error) {
                    return;
                }
            }
            _ => return health.is_up(),
        }
        let (mut state, wanted) = (health.state.subscribe(), health.wanted.clone());
        drop(health);
        let wanted = async {
            tokio::time::sleep(PROBE_FIRST).await;
            wanted.notified().await;
        };
        tokio::select! {
            biased;
            // Somebody else's success ends it; so does the end of the store.
            _ = state.wait_for(|state| state.outage.is_none()) => return,
            () = wanted => {}
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(PROBE_RAREST);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn gone() -> Error {
        Error::Unreachable {
            operation: "read",
            object: "packs/00".into(),
            why: "nobody there".into(),
        }
    }

    /// A store that answers probes as it is told, and counts them.
    #[derive(Clone, Default)]
    struct Probed(Arc<Mutex<(u32, Option<Error>)>>);

    impl Probed {
        fn probe(&self) -> impl Fn() -> std::future::Ready<Result<()>> + Send + 'static + use<> {
            let shared = self.0.clone();
            move || {
                let mut state = shared.lock().unwrap();
                state.0 += 1;
                std::future::ready(state.1.clone().map_or(Ok(()), Err))
            }
        }

        fn answers(&self, error: Option<Error>) {
            self.0.lock().unwrap().1 = error;
        }
    }

    #[tokio::test]
    async fn one_bad_object_does_not_make_the_store_away() {
        let (health, probed) = (Arc::new(Health::new()), Probed::default());
        health.note::<(), _, _>(&Err(gone()), probed.probe());
        assert!(!health.outage().unwrap().confirmed);
        health.may_read().await.unwrap();
        assert!(health.outage().is_none());
        assert_eq!(health.returns(), 0, "it was never away");
    }

    #[tokio::test]
    async fn while_it_is_away_reads_fail_at_once_and_probes_are_rare() {
        let (health, probed) = (Arc::new(Health::new()), Probed::default());
        probed.answers(Some(gone()));
        tokio::time::pause();
        health.note::<(), _, _>(&Err(gone()), probed.probe());
        assert!(health.may_read().await.unwrap_err().confirmed);
        let day = Duration::from_secs(86_400);
        tokio::time::sleep(day).await;
        let probes = probed.0.lock().unwrap().0;
        assert!((1430..=1450).contains(&probes), "{probes} in a day");
        assert!(health.outage().unwrap().since.elapsed() >= day);
        let begin = Instant::now();
        probed.answers(None);
        health.may_read().await.unwrap_err();
        assert_eq!(begin.elapsed(), Duration::ZERO);
        // Whoever wants to read does not wait for the rare ones.
        tokio::time::sleep(2 * PROBE_FIRST).await;
        assert_eq!(health.returns(), 1);
        health.may_read().await.unwrap();
    }

    #[tokio::test]
    async fn success_of_anything_ends_an_outage() {
        let (health, probed) = (Arc::new(Health::new()), Probed::default());
        probed.answers(Some(gone()));
        health.note::<(), _, _>(&Err(gone()), probed.probe());
        health.may_read().await.unwrap_err();
        health.note(&Ok(()), probed.probe());
        assert!(health.outage().is_none());
        health.may_read().await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_refuses_is_asked() {
        let (health, probed) = (Arc::new(Health::new()), Probed::default());
        let denied = Error::Denied {
            operation: "read",
            object: "packs/00".into(),
            why: "403".into(),
        };
        probed.answers(Some(denied.clone()));
        health.note::<(), _, _>(&Err(denied), probed.probe());
        health.may_read().await.unwrap();
        while !health.outage().unwrap().confirmed {
            tokio::task::yield_now().await;
        }
        health.may_read().await.unwrap();
    }
}
