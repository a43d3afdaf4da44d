//! A store with weather: an OpenDAL layer that delays, fails, forgets and lies, as a seed says.
//!
//! It stands where the network is, below the timeouts and retries of the product. What it does goes into a
//! trace, so that two runs of one seed can be compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use opendal::Buffer;
use opendal::BytesRange;
use opendal::Capability;
use opendal::Error;
use opendal::ErrorKind;
use opendal::Metadata;
use opendal::MetadataBuilder;
use opendal::OperationContext;
use opendal::Operator;
use opendal::Result;
use opendal::raw::*;
use tokio::time::Instant;

use crate::dice::Dice;

/// How long a request may be away in a mild climate.
const MILD: u64 = 120;
/// How long a slow line may take, in milliseconds as all here: short of what the product waits for.
const SLOW: u64 = 25_000;
/// How late a store may show what was written.
const LATE: u64 = 1200;

/// How often in a row an object comes garbled.
const GARBLED_MOST: u64 = 2;

/// What can happen to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It trickles at a byte a second, which takes longer than anyone waits.
    Endless,
    /// It comes, very late.
    Slow,
    /// The connection breaks before the server has seen it.
    Before,
    /// The server has done it, and the answer is lost.
    After,
    /// 429.
    Busy,
    /// 403, for a while.
    Denied,
    /// The network is gone, for a while.
    Away,
    /// An object that is there is not shown yet.
    Late,
    /// Half of an object arrives, and stays.
    Torn,
    /// The server says that it has an object, and has half of it.
    Short,
    /// The server says that it has an object, and has nothing.
    Lost,
    /// An answer with fewer bytes than were asked for.
    Fewer,
    /// An answer with more bytes.
    More,
    /// An answer with other bytes.
    Other,
}

impl Fault {
    pub const ALL: [Self; 14] = [
        Self::Endless,
        Self::Slow,
        Self::Before,
        Self::After,
        Self::Busy,
        Self::Denied,
        Self::Away,
        Self::Late,
        Self::Torn,
        Self::Short,
        Self::Lost,
        Self::Fewer,
        Self::More,
        Self::Other,
    ];
}

struct State {
    dice: Dice,
    /// Faults in a thousand requests, each kind; nothing while it is calm.
    severity: u64,
    calm: bool,
    began: Instant,
    /// When new objects are shown to everybody.
    shown: BTreeMap<String, Instant>,
    /// How often in a row an answer about an object was garbled: no line is so bad that nothing comes through.
    garbled: BTreeMap<String, u64>,
    away_until: Option<Instant>,
    denied_until: Option<Instant>,
    fired: BTreeMap<Fault, u64>,
    trace: blake3::Hasher,
    events: u64,
}

/// The weather over one store. Clones are the same weather.
#[derive(Clone)]
pub struct Weather(Arc<Mutex<State>>);

impl std::fmt::Debug for Weather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Weather")
    }
}

impl Weather {
    /// Calm at first.
    pub fn new(seed: u64, severity: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice(seed ^ 0x5eed),
            severity,
            calm: true,
            began: Instant::now(),
            shown: BTreeMap::new(),
            garbled: BTreeMap::new(),
            away_until: None,
            denied_until: None,
            fired: BTreeMap::new(),
            trace: blake3::Hasher::new(),
            events: 0,
        })))
    }

    /// Lays it over a service.
    pub fn over(&self, operator: Operator) -> Operator {
        operator.layer(self.clone())
    }

    /// From here on nothing goes wrong, and everything is shown.
    pub fn calm(&self) {
        let mut state = self.state();
        state.calm = true;
        state.shown.clear();
        state.away_until = None;
        state.denied_until = None;
    }

    pub fn begin(&self) {
        self.state().calm = false;
    }

    /// What went wrong so far, and how often.
    pub fn fired(&self) -> BTreeMap<Fault, u64> {
        self.state().fired.clone()
    }

    /// Adds to the trace what is no request.
    pub fn note(&self, what: &str) {
        self.state().record(what, "", "");
    }

    /// Everything that happened, in order and with its time, as one hash.
    pub fn digest(&self) -> String {
        let state = self.state();
        format!(
            "{} events {}",
            state.events,
            state.trace.finalize().to_hex()
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Before the server sees a request: time passes, and it may end here.
    async fn before(&self, operation: &'static str, path: &str) -> Result<()> {
        let (wait, fault) = {
            let mut state = self.state();
            state.record(operation, path, "asked");
            let most = if state.calm { 3 } else { MILD };
            let wait = state.dice.below(most);
            (Duration::from_millis(wait), state.fault_before())
        };
        tokio::time::sleep(wait).await;
        let Some(fault) = fault else { return Ok(()) };
        self.state().fire(fault, operation, path);
        if fault == Fault::Slow {
            let late = self.state().dice.duration(SLOW);
            tokio::time::sleep(late).await;
            return Ok(());
        }
        Err(match fault {
            Fault::Endless => {
                std::future::pending::<()>().await;
                unreachable!("nobody waits so long")
            }
            Fault::Busy => temporary(ErrorKind::RateLimited, "429"),
            Fault::Denied => Error::new(ErrorKind::PermissionDenied, "403"),
            _ => temporary(ErrorKind::Unexpected, "connection reset"),
        })
    }

    /// After the server has done it: the answer may be lost.
    fn after(&self, operation: &'static str, path: &str) -> Result<()> {
        let mut state = self.state();
        if state.roll(Fault::After) {
            state.fire(Fault::After, operation, path);
            return Err(temporary(ErrorKind::Unexpected, "connection reset"));
        }
        state.record(operation, path, "answered");
        Ok(())
    }

    /// Whether an object that is there is hidden this time.
    fn hides(&self, operation: &'static str, path: &str) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let late = state.shown.get(path).is_some_and(|shown| now < *shown);
        let hides = late && !state.calm && state.dice.below(2) == 0;
        if hides {
            state.fire(Fault::Late, operation, path);
        }
        hides
    }
}

impl State {
    fn record(&mut self, what: &str, path: &str, outcome: &str) {
        let millis = self.began.elapsed().as_millis();
        self.events += 1;
        if std::env::var_os("COFFRE_TRACE").is_some() {
            eprintln!("{millis} {what} {path} {outcome}");
        }
        self.trace
            .update(format!("{millis} {what} {path} {outcome}\n").as_bytes());
    }

    fn fire(&mut self, fault: Fault, operation: &str, path: &str) {
        *self.fired.entry(fault).or_default() += 1;
        self.record(operation, path, &format!("{fault:?}"));
    }

    fn roll(&mut self, fault: Fault) -> bool {
        let weight = match fault {
            Fault::Before | Fault::After => 4,
            Fault::Endless | Fault::Away | Fault::Denied => 1,
            _ => 2,
        };
        !self.calm && self.dice.below(1000) < self.severity * weight
    }

    fn fault_before(&mut self) -> Option<Fault> {
        let now = Instant::now();
        if self.calm {
            return None;
        }
        if self.away_until.is_some_and(|until| now < until) {
            return Some(Fault::Away);
        }
        if self.denied_until.is_some_and(|until| now < until) {
            return Some(Fault::Denied);
        }
        let kinds = [
            Fault::Endless,
            Fault::Slow,
            Fault::Before,
            Fault::Busy,
            Fault::Denied,
            Fault::Away,
        ];
        let fault = kinds.into_iter().find(|fault| self.roll(*fault))?;
        match fault {
            Fault::Away => self.away_until = Some(now + self.dice.duration(120_000)),
            Fault::Denied => self.denied_until = Some(now + self.dice.duration(60_000)),
            _ => {}
        }
        Some(fault)
    }
}

fn temporary(kind: ErrorKind, why: &'static str) -> Error {
    Error::new(kind, why).set_temporary()
}

fn hidden() -> Error {
    Error::new(ErrorKind::NotFound, "404")
}

impl Layer for Weather {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(Stormy {
            inner,
            weather: self.clone(),
        })
    }
}

#[derive(Debug)]
struct Stormy {
    inner: Servicer,
    weather: Weather,
}

impl Service for Stormy {
    type Reader = Read;
    type Writer = Write;
    type Lister = List;
    type Deleter = Delete;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn create_dir(
        &self,
        context: &OperationContext,
        path: &str,
        arguments: OpCreateDir,
    ) -> Result<RpCreateDir> {
        self.inner.create_dir(context, path, arguments).await
    }

    async fn stat(
        &self,
        context: &OperationContext,
        path: &str,
        arguments: OpStat,
    ) -> Result<RpStat> {
        self.weather.before("stat", path).await?;
        let found = self.inner.stat(context, path, arguments).await?;
        if self.weather.hides("stat", path) {
            return Err(hidden());
        }
        self.weather.after("stat", path)?;
        Ok(found)
    }

    fn read(
        &self,
        context: &OperationContext,
        path: &str,
        arguments: OpRead,
    ) -> Result<Self::Reader> {
        Ok(Read {
            inner: self.inner.read(context, path, arguments)?,
            weather: self.weather.clone(),
            path: path.to_owned(),
        })
    }

    fn write(
        &self,
        context: &OperationContext,
        path: &str,
        arguments: OpWrite,
    ) -> Result<Self::Writer> {
        Ok(Write {
            service: self.inner.clone(),
            context: context.clone(),
            arguments,
            weather: self.weather.clone(),
            path: path.to_owned(),
            content: Vec::new(),
        })
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        Ok(Delete {
            inner: self.inner.delete(context)?,
            weather: self.weather.clone(),
        })
    }

    fn list(
        &self,
        context: &OperationContext,
        path: &str,
        arguments: OpList,
    ) -> Result<Self::Lister> {
        Ok(List {
            inner: self.inner.list(context, path, arguments)?,
            weather: self.weather.clone(),
            path: path.to_owned(),
            asked: false,
        })
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "copy"))
    }

    async fn rename(
        &self,
        _: &OperationContext,
        _: &str,
        _: &str,
        _: OpRename,
    ) -> Result<RpRename> {
        Err(Error::new(ErrorKind::Unsupported, "rename"))
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        Err(Error::new(ErrorKind::Unsupported, "presign"))
    }
}

struct Read {
    inner: oio::Reader,
    weather: Weather,
    path: String,
}

impl Read {
    /// What arrives of `bytes`.
    fn arrive(&self, bytes: &Buffer) -> Vec<u8> {
        let mut arrived = bytes.to_vec();
        let mut state = self.weather.state();
        let kinds = [Fault::Fewer, Fault::More, Fault::Other];
        let enough = state.garbled.get(&self.path).copied().unwrap_or(0) >= GARBLED_MOST;
        let fault = kinds.into_iter().find(|fault| state.roll(*fault));
        let Some(fault) = fault.filter(|_| !enough) else {
            state.garbled.remove(&self.path);
            return arrived;
        };
        *state.garbled.entry(self.path.clone()).or_default() += 1;
        state.fire(fault, "read", &self.path);
        match fault {
            Fault::Fewer => arrived.truncate(arrived.len() / 2),
            Fault::More => arrived.extend_from_slice(&[0; 100]),
            _ => {
                let at = state.dice.below(arrived.len().max(1) as u64) as usize;
                if let Some(byte) = arrived.get_mut(at) {
                    *byte ^= 1;
                }
            }
        }
        arrived
    }
}

impl oio::Read for Read {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let (reply, bytes) = oio::Read::read(self, range).await?;
        Ok((reply, Box::new(bytes)))
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        self.weather.before("read", &self.path).await?;
        let (reply, bytes) = oio::Read::read(&self.inner, range).await?;
        if self.weather.hides("read", &self.path) {
            return Err(hidden());
        }
        let arrived = self.arrive(&bytes);
        self.weather.after("read", &self.path)?;
        Ok((reply, arrived.into()))
    }
}

/// Keeps what is written until it is complete, as a server does.
struct Write {
    service: Servicer,
    context: OperationContext,
    arguments: OpWrite,
    weather: Weather,
    path: String,
    content: Vec<u8>,
}

impl Write {
    async fn store(&self, bytes: Vec<u8>) -> Result<Metadata> {
        let arguments = self.arguments.clone();
        let mut writer = self.service.write(&self.context, &self.path, arguments)?;
        oio::Write::write(&mut writer, bytes.into()).await?;
        let metadata = oio::Write::close(&mut writer).await?;
        let mut state = self.weather.state();
        let late = Instant::now() + state.dice.duration(LATE);
        if !state.calm {
            // What was there already stays in sight.
            state.shown.entry(self.path.clone()).or_insert(late);
        }
        Ok(metadata)
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.weather.state();
        let kinds = [Fault::Torn, Fault::Short, Fault::Lost];
        let fault = kinds.into_iter().find(|fault| state.roll(*fault))?;
        state.fire(fault, "write", &self.path);
        Some(fault)
    }
}

impl oio::Write for Write {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        self.content.extend_from_slice(&bytes.to_vec());
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        self.weather.before("write", &self.path).await?;
        let whole = self.content.clone();
        let half = whole[..whole.len() / 2].to_vec();
        let metadata = match self.fault() {
            Some(Fault::Torn) => {
                self.store(half).await?;
                return Err(temporary(ErrorKind::Unexpected, "connection reset"));
            }
            Some(Fault::Short) => self.store(half).await?,
            Some(_) => MetadataBuilder::file(whole.len() as u64).build(),
            None => self.store(whole).await?,
        };
        self.weather.after("write", &self.path)?;
        Ok(metadata)
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}

struct List {
    inner: oio::Lister,
    weather: Weather,
    path: String,
    asked: bool,
}

impl oio::List for List {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        if !self.asked {
            self.weather.before("list", &self.path).await?;
            self.asked = true;
            self.weather.after("list", &self.path)?;
        }
        loop {
            let Some(entry) = oio::List::next(&mut self.inner).await? else {
                return Ok(None);
            };
            if !self.weather.hides("list", entry.path()) {
                return Ok(Some(entry));
            }
        }
    }
}

struct Delete {
    inner: oio::Deleter,
    weather: Weather,
}

impl oio::Delete for Delete {
    async fn delete(&mut self, path: &str, arguments: OpDelete) -> Result<()> {
        self.weather.before("delete", path).await?;
        oio::Delete::delete(&mut self.inner, path, arguments).await?;
        self.weather.after("delete", path)
    }

    async fn close(&mut self) -> Result<()> {
        oio::Delete::close(&mut self.inner).await
    }
}
