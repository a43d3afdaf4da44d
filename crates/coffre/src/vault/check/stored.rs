//! How many bytes the store holds, and how many of them the tree still needs.

use coffre_format::record::Child;

use crate::error::Result;
use crate::store::Prefix;
use crate::tree::Nodes;
use crate::vault::Vault;
use crate::vault::check::Depth;
use crate::vault::check::packs::Uses;
use crate::vault::check::walk::Walk;

/// Bytes of packs in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stored {
    /// Of all packs.
    pub stored_bytes: u64,
    /// Of frames that the tree or a snapshot points to.
    pub live_bytes: u64,
    /// Of what was replaced or removed, and of padding: nothing points there any more.
    pub unused_bytes: u64,
}

/// Reads the whole tree under `root` and lists the packs. What cannot be read counts as unused: `check` names it.
pub async fn stored(vault: &Vault, nodes: &Nodes, root: &Child) -> Result<Stored> {
    let mut uses = Uses::default();
    let mut findings = Vec::new();
    Walk::new(nodes, Depth::Structure, &mut uses, &mut findings)
        .frames(root)
        .await?;
    let packs = vault.store().list(Prefix::Packs).await?;
    let mut stored_bytes = 0;
    for pack in &packs.objects {
        stored_bytes += match pack.length {
            Some(length) => length,
            None => vault.store().length(&pack.name).await?.unwrap_or(0),
        };
    }
    let (_, live_bytes) = uses.totals();
    Ok(Stored {
        stored_bytes,
        live_bytes,
        unused_bytes: stored_bytes.saturating_sub(live_bytes),
    })
}
