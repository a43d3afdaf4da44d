//! Checkpoints: one device's word about the newest state, carried by a person to another device.

use coffre_format::checkpoint::CheckpointString;
use coffre_format::commit::Point;

use crate::error::Error;
use crate::error::Result;
use crate::vault::Vault;
use crate::vault::base;
use crate::vault::chain::Chains;
use crate::vault::commits::Commits;
use crate::vault::heads;

#[doc(hidden)]
impl Vault {
    /// The head that this session works on.
    pub fn checkpoint(&self) -> CheckpointString {
        let memory = self.memory();
        let base = &memory.heads.base;
        CheckpointString {
            vault: self.inner.id,
            epoch: base.commit.clear.epoch,
            device: base.device,
            seq: base.point.seq,
            hash: base.point.hash,
        }
    }

    /// Whether what the store offers contains this state; otherwise `Rollback`.
    pub async fn verify(&self, checkpoint: &CheckpointString) -> Result<()> {
        if checkpoint.vault != self.inner.id {
            return Err(Error::WrongVault {
                expected: checkpoint.vault.to_string(),
                found: self.inner.id.to_string(),
            });
        }
        let _turn = self.inner.turn.lock().await;
        let (heads, anchor) = {
            let memory = self.memory();
            (memory.heads.all.clone(), memory.anchor.clone())
        };
        let point = Point {
            seq: checkpoint.seq,
            hash: checkpoint.hash,
        };
        let exactly = heads.iter().any(|head| {
            let own = head.device == checkpoint.device && head.point == point;
            own || base::names(&head.commit.body.merged, checkpoint.device, &point)
        });
        if exactly {
            return Ok(());
        }
        // Older than a head of the same chain: the chain must lead back to it.
        let chains = Chains {
            commits: Commits::new(&self.inner.store, &self.inner.state, &self.inner.nodes),
            known: &anchor.accepted,
            intent: None,
        };
        let names = heads::names_of(&self.inner.store, checkpoint.device).await?;
        for head in heads.iter().filter(|head| head.device == checkpoint.device) {
            if chains.leads_to(head, point, &names).await? {
                return Ok(());
            }
        }
        let what = format!(
            "commit {} of device {}, which the checkpoint names, is in nothing that the store offers",
            checkpoint.seq, checkpoint.device
        );
        Err(Error::Rollback { what })
    }
}
