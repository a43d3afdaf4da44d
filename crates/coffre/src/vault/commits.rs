//! Reads single commits and verifies each by itself: name, signature, seal, vectors, enrolment.

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use coffre_format::commit::COMMIT_MAX;
use coffre_format::commit::Point;
use coffre_format::commit::Verified;
use coffre_format::crypto::key::Keyring;
use coffre_format::crypto::key::RootKey;
use coffre_format::id::Epoch;
use coffre_format::id::Inode;
use coffre_format::id::VaultId;
use coffre_format::name::ObjectName;
use coffre_format::record::DeviceState;
use coffre_format::record::Key;
use coffre_format::record::Record;
use coffre_format::record::tag;

use crate::error::Error;
use crate::error::Result;
use crate::store::ATTEMPTS;
use crate::store::Store;
use crate::tree::Nodes;
use crate::vault::Head;
use crate::vault::base;
use crate::vault::copy_ring;
use crate::vault::kept;
use crate::vault::state::StateDir;

/// What reading one commit came to.
pub(super) enum Read {
    Good(Box<Head>),
    Absent,
    /// Not what its name or our keys promise.
    Bad(Error),
    /// An intact commit of another vault.
    Foreign(VaultId),
}

/// Reads and verifies commits.
pub(super) struct Commits<'a> {
    pub(super) store: &'a Store,
    pub(super) state: &'a StateDir,
    pub(super) nodes: &'a Nodes,
    ring: Mutex<Arc<Keyring>>,
}

impl<'a> Commits<'a> {
    pub(super) fn new(store: &'a Store, state: &'a StateDir, nodes: &'a Nodes) -> Self {
        Self {
            store,
            state,
            nodes,
            ring: Mutex::new(nodes.ring()),
        }
    }

    /// The keys, with the older epochs that commits have told of.
    pub(super) fn ring(&self) -> Arc<Keyring> {
        self.ring
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Reads and verifies one commit: size → name → device id → signature → open → vectors.
    pub(super) async fn read(&self, name: &ObjectName, length: Option<u64>) -> Result<Read> {
        if let Some(head) = self.kept(name) {
            return Ok(Read::Good(Box::new(head)));
        }
        for _ in 1..ATTEMPTS {
            match self.fetch(name, length).await? {
                Read::Bad(error) => log::debug!("asking again for {name}: {error}"),
                read => return Ok(read),
            }
        }
        self.fetch(name, length).await
    }

    async fn fetch(&self, name: &ObjectName, length: Option<u64>) -> Result<Read> {
        match self.store.read_whole(name, length, COMMIT_MAX).await {
            Ok(bytes) => self.judge(name, bytes),
            Err(Error::Missing { .. }) => Ok(Read::Absent),
            Err(error @ (Error::Truncated { .. } | Error::Forged { .. })) => Ok(Read::Bad(error)),
            Err(error) => Err(error),
        }
    }

    /// The commit from the state folder, if it is there and right.
    pub(super) fn kept(&self, name: &ObjectName) -> Option<Head> {
        match self.judge(name, kept::read(self.state, name)?) {
            Ok(Read::Good(head)) => Some(*head),
            _ => None,
        }
    }

    fn judge(&self, name: &ObjectName, bytes: Bytes) -> Result<Read> {
        let verified = match Verified::check(&bytes, name) {
            Ok(verified) => verified,
            Err(error) => return Ok(Read::Bad(Error::of_object(name, error))),
        };
        let ring = self.ring();
        if verified.clear.vault != ring.vault() {
            return Ok(Read::Foreign(verified.clear.vault));
        }
        if verified.clear.epoch > ring.current().epoch {
            return Ok(Read::Bad(Error::Unsupported(format!(
                "{name} stands under newer keys: the vault's keys were rotated; unlock it again"
            ))));
        }
        let commit = match verified.open(&ring) {
            Ok(commit) => commit,
            Err(error) => return Ok(Read::Bad(Error::of_object(name, error))),
        };
        if !base::at_most(&commit.body.merged, &commit.body.seen) {
            return Ok(Read::Bad(forged(name, "it contains more than it has seen")));
        }
        self.learn(&commit.body.keyring);
        Ok(Read::Good(Box::new(Head {
            device: verified.clear.device,
            point: Point {
                seq: verified.clear.seq,
                hash: verified.hash,
            },
            commit,
            sealed: bytes,
        })))
    }

    fn learn(&self, keyring: &[(Epoch, RootKey)]) {
        let mut ring = self
            .ring
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (epoch, root) in keyring {
            if ring.epoch(*epoch).is_err() {
                let mut more = copy_ring(&ring);
                more.add(*epoch, root.clone());
                *ring = Arc::new(more);
                self.nodes.set_ring(ring.clone());
            }
        }
    }

    /// Whether the commit's own tree names its device and still lets it publish.
    pub(super) async fn enrolled(&self, head: &Head) -> Result<()> {
        let name = kept::commit_name(head.device, &head.point);
        let key = Key::new(Inode::VAULT, tag::DEVICE, &head.device.0);
        match self.nodes.get(&head.commit.body.root, &key).await? {
            Some(Record::Device(record)) if record.public_key == head.commit.clear.public_key => {
                match record.state {
                    DeviceState::Revoked { after } if head.point.seq > after => {
                        Err(forged(&name, "its device was revoked"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Err(forged(&name, "its tree does not list its device")),
        }
    }
}

/// An object that does not say what it must.
pub(super) fn forged(name: &ObjectName, why: &str) -> Error {
    Error::Forged {
        object: name.to_string(),
        path: None,
        why: why.to_owned(),
    }
}
