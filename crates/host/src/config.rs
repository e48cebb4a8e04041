//! What a host is made of.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::clock::{Clock, SystemClock};
use crate::killer::{Deed, EndProcess};
use crate::lease::{Holder, LeaseStore};
use crate::service::Service;
use crate::timing::{Timing, TimingError};

/// What a host is made of.
pub struct HostConfig {
    /// The name of the service, by which its hosts compete.
    pub service: String,
    /// In how many processes it may run at the same time; 1 unless set.
    pub slots: u32,
    /// How the time of a lease is divided; a lease of 20 seconds unless set.
    pub timing: Timing,
    /// How long to wait for a slot: 120 seconds unless set, and without limit for `None`. With nothing, each slot is
    /// tried once.
    pub window: Option<Duration>,
    /// What runs where it leads: started in this order, stopped in reverse.
    pub services: Vec<Box<dyn Service>>,
    /// Who this host is to the store. It must be fresh: see [`Holder`].
    pub holder: Holder,
    /// Where the leases are.
    pub store: Arc<dyn LeaseStore>,
    /// By which time.
    pub clock: Arc<dyn Clock>,
    /// What the killer does.
    pub deed: Arc<dyn Deed>,
}

/// Why there cannot be such a host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// No host could ever lead.
    #[error("`slots` is 0, so no host could ever lead; give 1 or more")]
    NoSlots,
    /// The name is empty.
    #[error("`service` is empty; give the name by which hosts of the same service compete")]
    NoName,
    /// The times do not fit.
    #[error(transparent)]
    Timing(#[from] TimingError),
}

impl HostConfig {
    /// A host with the usual settings, and nothing to run yet.
    pub fn new(service: impl Into<String>, store: Arc<dyn LeaseStore>) -> Self {
        let service = service.into();
        Self {
            slots: 1,
            timing: Timing::of_lease(Duration::from_secs(20)),
            window: Some(Duration::from_secs(120)),
            services: Vec::new(),
            holder: Holder::fresh(&service),
            store,
            clock: Arc::new(SystemClock),
            deed: Arc::new(EndProcess),
            service,
        }
    }

    /// The same with one more service, to be started after those that it has.
    #[must_use]
    pub fn with(mut self, service: Box<dyn Service>) -> Self {
        self.services.push(service);
        self
    }

    /// Checks what can be checked before anything is started.
    ///
    /// # Errors
    /// [`ConfigError`], which names the field and what would be right.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.service.is_empty() {
            return Err(ConfigError::NoName);
        }
        if self.slots == 0 {
            return Err(ConfigError::NoSlots);
        }
        Ok(self.timing.check()?)
    }
}
