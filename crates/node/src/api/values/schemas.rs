//! Schemas of futures, compiled, each kept as long as it is used.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use unisono_engine::payload::Payload;
use unisono_model::ids::Revision;
use unisono_model::schema::{ValueSchema, Violation};

/// Compiled schemas that are kept.
const MOST_KEPT: usize = 1_024;

/// Compiled schemas, by the revision of the declaration.
#[derive(Default)]
pub(crate) struct Schemas(Mutex<FxHashMap<Revision, Arc<ValueSchema>>>);

impl Schemas {
    /// The schema of a declaration.
    pub(super) fn of(&self, declared: Revision, schema: &Payload) -> Result<Arc<ValueSchema>, Vec<Violation>> {
        if let Some(known) = self.lock(|kept| kept.get(&declared).cloned()) {
            return Ok(known);
        }
        let compiled = Arc::new(ValueSchema::parse(schema.raw())?);
        self.lock(|kept| {
            if kept.len() >= MOST_KEPT {
                kept.clear();
            }
            kept.insert(declared, Arc::clone(&compiled));
        });
        Ok(compiled)
    }

    fn lock<T>(&self, look: impl FnOnce(&mut FxHashMap<Revision, Arc<ValueSchema>>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
