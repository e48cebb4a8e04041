//! What a server's data takes on disk, and what it is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// What the data of a server takes on disk, in bytes, and of how many orchestrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageView {
    /// The journal, with files that are prepared for it.
    pub journal_bytes: u64,
    /// The store.
    pub store_bytes: u64,
    /// Parts of the store: `history`, `logs`, `orchestrations` (what lists show, ids), `index`, `checkpoint`, and `log` (the
    /// store's own log, and what is set aside for it).
    pub store: BTreeMap<String, u64>,
    /// What is free on the disk.
    pub free_bytes: u64,
    /// With less than this free, new work is refused.
    pub reserve_bytes: u64,
    /// How many orchestrations there are of each definition, deleted definitions included, by namespace.
    pub namespaces: BTreeMap<Name, BTreeMap<Name, StoredOrchestrations>>,
}

/// How many orchestrations of a definition are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredOrchestrations {
    /// Open ones.
    pub open: u64,
    /// Those that have ended.
    pub ended: u64,
}
